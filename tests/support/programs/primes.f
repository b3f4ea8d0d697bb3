      program primes
c     sieve, greatest common divisors, and numbers that are the sum
c     of their proper divisors
      implicit none
      integer limit
      parameter (limit = 500)
      logical composite(limit)
      integer i, j, found, gcd, total, perfect(10), np
      external gcd
      do i = 1, limit
        composite(i) = .false.
      end do
      composite(1) = .true.
      i = 2
      do while (i * i .le. limit)
        if (.not. composite(i)) then
          do j = i * i, limit, i
            composite(j) = .true.
          end do
        end if
        i = i + 1
      end do
      found = 0
      do 20 i = 1, limit
        if (composite(i)) goto 20
        found = found + 1
        if (found .le. 10) write(*, 900) i
   20 continue
      print *, 'primes below', limit, ':', found
      np = 0
      do i = 2, limit
        total = 1
        do j = 2, i / 2
          if (mod(i, j) .eq. 0) total = total + j
        end do
        if (total .eq. i .and. np .lt. 10) then
          np = np + 1
          perfect(np) = i
        end if
      end do
      do 30 i = 1, np
        write(*, 910) perfect(i)
   30 continue
      if (gcd(84, 36) .ne. 12 .or. gcd(7, 0) .ne. 7)
     +    print *, 'gcd is wrong'
      if (np - 3) 40, 50, 50
   40 print *, 'few'
      goto 60
   50 print *, 'enough'
   60 continue
  900 format (1x, 'prime ', i5)
  910 format (1x, 'perfect ', i5)
      end

      integer function gcd(a, b)
      integer a, b, x, y, r
      x = abs(a)
      y = abs(b)
   10 if (y .eq. 0) goto 20
      r = mod(x, y)
      x = y
      y = r
      goto 10
   20 gcd = x
      return
      end

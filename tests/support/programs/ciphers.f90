program ciphers
  implicit none
  character(len=60) :: text, secret, plain
  integer, dimension(26) :: counts
  integer :: shift, total
  integer(kind=8) :: checksum

  text = 'The quick brown fox jumps over the lazy dog, twice!'
  shift = 3
  secret = caesar(text, shift)
  plain = caesar(secret, -shift)
  print '(a)', trim(secret)
  if (plain /= text) then
    print '(a)', 'broken'
    stop 1
  end if
  call count_letters(text, counts, total)
  print '(26i3)', counts
  print *, 'letters', total, 'vowels', vowels(text), 'palindrome', is_palindrome('A man, a plan, a canal: Panama')
  checksum = hash_of(trim(text))
  print '(i0)', checksum

contains

  function caesar(input, by) result(output)
    character(len=*), intent(in) :: input
    integer, intent(in) :: by
    character(len=len(input)) :: output
    integer :: i, code
    do i = 1, len(input)
      code = iachar(input(i:i))
      if (code >= iachar('a') .and. code <= iachar('z')) then
        output(i:i) = achar(modulo(code - iachar('a') + by, 26) + iachar('a'))
      else if (code >= iachar('A') .and. code <= iachar('Z')) then
        output(i:i) = achar(modulo(code - iachar('A') + by, 26) + iachar('A'))
      else
        output(i:i) = input(i:i)
      end if
    end do
  end function caesar

  pure character function lower(letter)
    character, intent(in) :: letter
    integer :: code
    code = iachar(letter)
    lower = letter
    if (code > 64 .and. code < 91) lower = achar(code + 32)
  end function lower

  subroutine count_letters(input, counts, total)
    character(len=*), intent(in) :: input
    integer, intent(out) :: counts(26), total
    integer :: i, place
    counts = 0
    do i = 1, len_trim(input)
      place = iachar(lower(input(i:i))) - iachar('a') + 1
      if (place < 1 .or. place > 26) cycle
      counts(place) = counts(place) + 1
    end do
    total = sum(counts)
  end subroutine count_letters

  integer function vowels(input)
    character(len=*), intent(in) :: input
    integer :: i
    vowels = 0
    do i = 1, len_trim(input)
      if (index('aeiou', lower(input(i:i))) > 0) vowels = vowels + 1
    end do
  end function vowels

  logical function is_palindrome(input)
    character(len=*), intent(in) :: input
    integer :: left, right
    left = 1
    right = len_trim(input)
    is_palindrome = .true.
    do while (left < right)
      if (.not. is_letter(input(left:left))) then
        left = left + 1
      else if (.not. is_letter(input(right:right))) then
        right = right - 1
      else
        if (lower(input(left:left)) /= lower(input(right:right))) then
          is_palindrome = .false.
          exit
        end if
        left = left + 1
        right = right - 1
      end if
    end do
  end function is_palindrome

  pure logical function is_letter(letter)
    character, intent(in) :: letter
    is_letter = (letter >= 'a' .and. letter <= 'z') .or. (letter >= 'A' .and. letter <= 'Z')
  end function is_letter

  integer(kind=8) function hash_of(input)
    character(len=*), intent(in) :: input
    integer :: i
    hash_of = 5381_8
    do i = 1, len(input)
      hash_of = modulo(hash_of * 33_8 + int(iachar(input(i:i)), kind=8), 2147483647_8)
    end do
  end function hash_of

end program ciphers

! Descriptive statistics of a sample, with a small test driver.
module statistics_mod
  use, intrinsic :: iso_fortran_env, only: real64
  implicit none
  private
  public :: mean, variance, median, histogram

  integer, parameter :: max_bins = 20
  real(real64), parameter :: tiny_value = 1.0e-12_real64

contains

  pure function mean(x) result(m)
    real(real64), intent(in) :: x(:)
    real(real64) :: m
    if (size(x) == 0) then
      m = 0.0_real64
    else
      m = sum(x) / real(size(x), real64)
    end if
  end function mean

  pure function variance(x) result(v)
    real(real64), intent(in) :: x(:)
    real(real64) :: v, m
    integer :: i
    v = 0.0_real64
    if (size(x) < 2) return
    m = mean(x)
    do i = 1, size(x)
      v = v + (x(i) - m)**2
    end do
    v = v / real(size(x) - 1, real64)
    if (abs(v) <= tiny_value) v = 0.0_real64
  end function variance

  function median(x) result(m)
    real(real64), intent(in) :: x(:)
    real(real64) :: m
    real(real64), allocatable :: work(:)
    real(real64) :: held
    integer :: i, j, n
    logical :: swapped

    n = size(x)
    allocate(work(n))
    work = x
    outer: do i = 1, n - 1
      swapped = .false.
      do j = 1, n - i
        if (work(j) > work(j + 1)) then
          held = work(j)
          work(j) = work(j + 1)
          work(j + 1) = held
          swapped = .true.
        end if
      end do
      if (.not. swapped) exit outer
    end do outer
    if (mod(n, 2) == 1) then
      m = work(n / 2 + 1)
    else
      m = (work(n / 2) + work(n / 2 + 1)) / 2.0_real64
    end if
    deallocate(work)
  end function median

  subroutine histogram(x, low, high, bins, outside)
    real(real64), intent(in) :: x(:), low, high
    integer, intent(out) :: bins(:)
    integer, intent(out) :: outside
    integer :: i, place, n
    real(real64) :: width

    n = min(size(bins), max_bins)
    bins = 0
    outside = 0
    width = (high - low) / real(n, real64)
    do i = 1, size(x)
      if (x(i) < low .or. &
          x(i) > high) then
        outside = outside + 1   ! not in any bin
        cycle
      end if
      place = floor((x(i) - low) / width) + 1
      place = max(1, min(place, n))
      bins(place) = bins(place) + 1
    end do
  end subroutine histogram

end module statistics_mod

program demo
  use, intrinsic :: iso_fortran_env, only: real64
  use statistics_mod, only: mean, variance, median, histogram
  implicit none
  real(real64) :: sample(8) = [2.0_real64, 4.0_real64, 4.0_real64, 4.0_real64, &
                               5.0_real64, 5.0_real64, 7.0_real64, 9.0_real64]
  integer :: bins(5), outside, i

  write(*, '(a, f8.3)') 'mean     ', mean(sample)
  write(*, '(a, f8.3)') 'variance ', variance(sample)
  write(*, '(a, f8.3)') 'median   ', median(sample)
  call histogram(sample, 2.0_real64, 8.0_real64, bins, outside)
  do i = 1, size(bins)
    print '(i3, 1x, a)', i, repeat('*', bins(i))
  end do
  print *, 'outside:', outside
end program demo

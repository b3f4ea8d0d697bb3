module inventory
  implicit none
  integer, parameter :: name_len = 16, capacity = 50

  type :: item_t
    character(len=name_len) :: name = ' '
    integer :: on_hand = 0
    integer :: reorder_at = 5
    real :: price = 0.0
  end type item_t

  type :: store_t
    type(item_t) :: items(capacity)
    integer :: count = 0
  end type store_t

contains

  integer function find(store, name)
    type(store_t), intent(in) :: store
    character(len=*), intent(in) :: name
    integer :: i
    find = 0
    do i = 1, store%count
      if (trim(store%items(i)%name) == trim(name)) then
        find = i
        return
      end if
    end do
  end function find

  subroutine receive(store, name, quantity, price, ok)
    type(store_t), intent(inout) :: store
    character(len=*), intent(in) :: name
    integer, intent(in) :: quantity
    real, intent(in) :: price
    logical, intent(out) :: ok
    integer :: place

    ok = .false.
    if (quantity <= 0 .or. price < 0.0) return
    place = find(store, name)
    if (place == 0) then
      if (store%count >= capacity) return
      store%count = store%count + 1
      place = store%count
      store%items(place)%name = name
    end if
    store%items(place)%on_hand = store%items(place)%on_hand + quantity
    store%items(place)%price = price
    ok = .true.
  end subroutine receive

  subroutine ship(store, name, quantity, status)
    type(store_t), intent(inout) :: store
    character(len=*), intent(in) :: name
    integer, intent(in) :: quantity
    integer, intent(out) :: status
    integer :: place
    place = find(store, name)
    if (place == 0) then
      status = 1; return
    else if (store%items(place)%on_hand < quantity) then
      status = 2
    else
      store%items(place)%on_hand = store%items(place)%on_hand - quantity
      status = 0
      if (store%items(place)%on_hand < store%items(place)%reorder_at) status = -1
    end if
  end subroutine ship

  real function worth(store)
    type(store_t), intent(in) :: store
    integer :: i
    worth = 0.0
    do i = 1, store%count
      associate (item => store%items(i))
        worth = worth + item%price * real(item%on_hand)
      end associate
    end do
  end function worth

  character(len=12) function message(status)
    integer, intent(in) :: status
    select case (status)
    case (0)
      message = 'shipped'
    case (1)
      message = 'unknown'
    case (2)
      message = 'too few'
    case (:-1)
      message = 'reorder'
    case default
      message = '?'
    end select
  end function message

end module inventory

program main
  use inventory
  implicit none
  type(store_t) :: store
  logical :: ok
  integer :: status, i
  character(len=name_len), dimension(3) :: wanted = [character(len=name_len) :: 'bolt', 'nut', 'gear']

  call receive(store, 'bolt', 100, 0.25, ok)
  call receive(store, 'nut', 12, 0.10, ok)
  call receive(store, 'gear', -3, 4.75, ok)
  if (.not. ok) print *, "refused: it's negative"
  do i = 1, size(wanted)
    call ship(store, wanted(i), 10, status)
    print '(a, 1x, a)', wanted(i), message(status)
  end do
  print '(a, f8.2)', 'worth', worth(store)
end program main

"""Templates of trade and office: invoices, tariffs, interest, pay, stock, dates; money is in whole cents."""

from __future__ import annotations

from typing import Any

from spiritsafe.tasks.code.templates.inputs import Arguments, rows, truth, whole
from spiritsafe.tasks.code.templates.template import Exercise, asking, template

_ROUNDINGS = {
    "half up": ("(", " + {half}) // {whole}", "rounded to whole cents, half a cent up"),
    "down": ("", " // {whole}", "rounded down to whole cents"),
    "up": ("(", " + {most}) // {whole}", "rounded up to whole cents"),
}


def _rounded(code: str, divisor: int, rounding: str) -> str:
    """Code that divides ``code``, a product, by ``divisor`` and rounds."""
    opening, closing, _ = _ROUNDINGS[rounding]
    return f"{opening}{code}{closing.format(half=divisor // 2, whole=divisor, most=divisor - 1)}"


def _rounding_words(rounding: str) -> str:
    return _ROUNDINGS[rounding][2]


def _equally_long(*lists: list[int]) -> Arguments:
    length = min(map(len, lists))
    return tuple(values[:length] for values in lists)


@template(
    level=3,
    bulk=range(2, 21),
    discount=range(1, 41),
    tax=range(1, 30),
    rounding=tuple(_ROUNDINGS),
    free_from=(0, *range(1_000, 20_001, 1_000)),
    shipping=range(199, 1000, 100),
)
def _invoice(bulk: int, discount: int, tax: int, rounding: str, free_from: int, shipping: int) -> Exercise:
    send = f"    if net < {free_from}:\n        net += {shipping}\n" if free_from else f"    net += {shipping}\n"
    sending = f"If the sum is less than {free_from} cents, add" if free_from else "Add"
    return Exercise(
        gold=f"""\
def invoice(quantities: list[int], prices: list[int]) -> int:
    net = 0
    for i in range(len(quantities)):
        amount = quantities[i] * prices[i]
        if quantities[i] >= {bulk}:
            amount -= {_rounded(f"amount * {discount}", 100, rounding)}
        net += amount
{send}    return net + {_rounded(f"net * {tax}", 100, rounding)}
""",
        wordings=(
            "An invoice has lines, each with a quantity and a price in cents for one piece. A line costs quantity "
            f"times price; from {bulk} pieces on it gets a discount of {discount} percent of that, the discount "
            f"being "
            f"{_rounding_words(rounding)}. Add up the lines. {sending} {shipping} cents for shipping. Then add {tax} "
            f"percent tax on all of it, the tax being {_rounding_words(rounding)}. Return the total in cents.",
            "Compute what a customer pays, in cents. For each line multiply quantity and price. Where the quantity "
            f"is at least {bulk}, subtract {discount} percent ({_rounding_words(rounding)}). "
            f"{sending.replace('Add', 'To the sum of the lines add')} {shipping} cents of shipping; on the result "
            f"comes a tax of {tax} percent ({_rounding_words(rounding)}).",
        ),
        notes="The lists of quantities and prices are equally long, and may be empty. No number is negative.",
        supplies=(rows(whole(0, 40, bulk), most=8), rows(whole(0, 3000, 99, 150, 1005), most=8)),
        fit=_equally_long,
    )


def _three_prices(s: dict[str, Any]) -> dict[str, Any] | None:
    if len({s["low"], s["middle"], s["high"]}) < 3:
        return None
    return s if s["minimum"] > s["base"] else s | {"minimum": 0}  # a lower minimum is always reached


@template(
    level=3,
    settle=_three_prices,
    first=range(5, 100, 5),
    second=range(100, 500, 25),
    low=range(10, 80),
    middle=range(10, 80),
    high=range(5, 60),
    base=range(0, 2001, 250),
    minimum=range(0, 5001, 500),
)
def _tariff(first: int, second: int, low: int, middle: int, high: int, base: int, minimum: int) -> Exercise:
    floor = f"    return max(cost, {minimum})" if minimum > base else "    return cost"
    at_least = f" The charge is {minimum} cents at least." if minimum > base else ""
    return Exercise(
        gold=f"""\
def charge(units: int) -> int:
    cost = {base}
    if units > {second}:
        cost += (units - {second}) * {high}
        units = {second}
    if units > {first}:
        cost += (units - {first}) * {middle}
        units = {first}
    cost += units * {low}
{floor}
""",
        wordings=(
            f"A meter reading costs {base} cents, plus {low} cents for each of the first {first} units, {middle} "
            f"cents for each further unit up to {second} units, and {high} cents for each unit beyond "
            f"that.{at_least} "
            "Return the charge in cents.",
            f"Compute a charge in cents from the units used. Units 1 to {first} cost {low} each, units {first + 1} "
            f"to "
            f"{second} cost {middle} each, and all units above {second} cost {high} each. A fee of {base} comes on "
            f"top.{at_least}",
        ),
        notes="The number of units is not negative.",
        supplies=(whole(0, 1000, first, second, max(0, minimum - base) // low),),
    )


@template(
    level=4,
    rate=range(25, 1000, 5),
    rounding=tuple(_ROUNDINGS),
    fee=range(50, 3001, 50),
    limit=range(10_000, 200_001, 10_000),
    extra=range(10, 300, 10),
)
def _savings(rate: int, rounding: str, fee: int, limit: int, extra: int) -> Exercise:
    return Exercise(
        gold=f"""\
def savings(balance: int, years: int) -> int:
    for year in range(years):
        rate = {rate}
        if balance >= {limit}:
            rate += {extra}
        balance += {_rounded("balance * rate", 10_000, rounding)}
        if balance < {fee}:
            return 0
        balance -= {fee}
    return balance
""",
        wordings=(
            f"An account with a balance in cents earns interest at the end of every year: {rate} basis points of the "
            f"balance (a basis point is a hundredth of a percent), or {rate + extra} basis points if the balance "
            f"before interest is at least {limit} cents; the interest is {_rounding_words(rounding)}. Then a fee of "
            f"{fee} cents is taken; if the balance is less than the fee, the account is closed and the result is 0. "
            "Return the balance after the years.",
            f"Each year, add interest to the balance, {_rounding_words(rounding)}, and subtract {fee} cents. The "
            f"interest is balance * {rate} / 10000, with {extra} added to the {rate} when the balance is {limit} or "
            f"more before the interest is added. Should the balance with interest be less than {fee} in some year, "
            "return 0 at once. Return the balance after all years.",
        ),
        notes="Neither the balance nor the number of years is negative.",
        supplies=(whole(0, 400_000, limit, fee, 100, 99_999, 3333), whole(0, 25, 5)),
    )


def _what_matters_to_a_loan(s: dict[str, Any]) -> dict[str, Any]:
    s = s if s["step"] else s | {"every": 2}
    # cents that are rounded hardly ever change a number of months
    return s | {"rounding": "half up"} if s["asked"] == "months" else s


@template(
    level=4,
    settle=_what_matters_to_a_loan,
    rate=range(10, 300, 5),
    rounding=tuple(_ROUNDINGS),
    step=range(0, 501, 25),
    every=range(2, 13),
    cap=range(20, 121, 10),
    asked=("months", "total"),
)
def _loan(rate: int, rounding: str, step: int, every: int, cap: int, asked: str) -> Exercise:
    result = "how many months that takes" if asked == "months" else "the sum of all interest, in cents"
    raise_ = f"        if months % {every} == 0:\n            payment += {step}\n" if step else ""
    rise = f" After every {every} months the payment rises by {step} cents." if step else ""
    return Exercise(
        gold=asking(
            f"""\
def repay(debt: int, payment: int) -> int:
    months = 0
    total = 0  # total
    while debt > 0 and months < {cap}:
        interest = {_rounded(f"debt * {rate}", 10_000, rounding)}
        total += interest  # total
        debt = max(debt + interest - payment, 0)
        months += 1
{raise_}    return {asked}
""",
            asked,
        ),
        wordings=(
            f"A debt in cents is paid back by a monthly payment. In each month, interest of {rate} basis points "
            f"(hundredths of a percent) of the debt, {_rounding_words(rounding)}, is added to it, then the payment "
            f"is "
            f"subtracted; the debt never falls below 0.{rise} This goes on until nothing is owed, but for {cap} "
            f"months at most. Return {result}.",
            f"Follow a loan month by month while there is a debt, and for not more than {cap} months: the debt grows "
            f"by debt * {rate} / 10000, {_rounding_words(rounding)}, and shrinks by the payment (not below 0).{rise} "
            f"Return {result}.",
        ),
        notes="Neither number is negative; without a debt the result is 0.",
        supplies=(whole(0, 3_000_000, 5000 // rate + 1, 10_000, 2, 50_000, 1234), whole(0, 9000, 1, 500, 1000, 2500)),
    )


@template(
    level=4,
    limit=(*range(0, 10_001, 500),),
    fee=range(5, 500, 5),
    threshold=range(0, 5001, 250),
    asked=("balance", "lowest", "fees"),
    is_net=(True, False),
)
def _ledger(limit: int, fee: int, threshold: int, asked: str, is_net: bool) -> Exercise:
    result = {
        "balance": "the balance at the end",
        "lowest": "the lowest balance that there was after any booking or at the start",
        "fees": "the sum of the fees",
    }[asked]
    floor = str(-limit)
    tested = "balance + amount" if not is_net else f"balance + amount - {fee}"
    room = "the fee included, " if is_net else "without any fee, "
    return Exercise(
        gold=asking(
            f"""\
def book(amounts: list[int]) -> int:
    balance = 0
    lowest = 0  # lowest
    fees = 0  # fees
    for amount in amounts:
        if amount < 0 and {tested} < {floor}:
            continue
        balance += amount
        if balance < {threshold}:
            balance -= {fee}
            fees += {fee}  # fees
        lowest = min(lowest, balance)  # lowest
    return {asked}
""",
            asked,
        ),
        wordings=(
            "An account starts at 0 cents. Its bookings come in order: positive amounts are paid in, negative ones "
            f"are paid out. A payment out is refused, without any other effect, if with it ({room}whether or not one "
            f"would fall due) the balance would be less than {floor}. After each booking that is not refused, a fee "
            f"of {fee} cents is taken if the balance is less than {threshold}. Return {result}.",
            "Process a list of amounts on an account that holds 0 cents at first. Refuse a negative amount if "
            f"balance plus amount{f' minus {fee}' if is_net else ''} is below {floor}. Every other amount is added "
            f"to "
            f"the balance; then, if the balance is below {threshold}, {fee} cents are subtracted as a fee. Return "
            f"{result}.",
        ),
        supplies=(
            rows(
                whole(
                    -10_000,
                    9000,
                    (fee - limit) if is_net else -limit,
                    threshold,
                    threshold + limit,
                    -limit,
                    -fee,
                    -threshold - limit,
                ),
                most=9,
            ),
        ),
    )


@template(
    level=3,
    regular=range(4, 13),
    weekly=range(20, 50, 2),
    premium=(*range(5, 50, 5), *range(55, 100, 5)),
    bonus=range(100, 2001, 100),
    rounding=tuple(_ROUNDINGS),
)
def _pay(regular: int, weekly: int, premium: int, bonus: int, rounding: str) -> Exercise:
    extra = _rounded(f"overtime * rate * {100 + premium}", 100, rounding)
    return Exercise(
        gold=f"""\
def pay(hours: list[int], rate: int) -> int:
    normal = 0
    overtime = 0
    for h in hours:
        normal += min(h, {regular})
        overtime += max(h - {regular}, 0)
    if normal > {weekly}:
        overtime += normal - {weekly}
        normal = {weekly}
    wage = normal * rate + {extra}
    if overtime == 0 and normal == {weekly}:
        wage += {bonus}
    return wage
""",
        wordings=(
            "A list holds the hours worked on each day, rate is the wage of an hour in cents. Hours of a day beyond "
            f"{regular} are overtime. Of the other hours, those that exceed {weekly} in total are overtime too. "
            f"Overtime is paid with {premium} percent more; the pay for all overtime together is "
            f"{_rounding_words(rounding)}. Whoever has exactly {weekly} hours that are not overtime, and no "
            f"overtime, "
            f"gets {bonus} cents more. Return the pay in cents.",
            f"Compute a wage in cents. Each day up to {regular} hours are normal, the rest is overtime; if normal "
            f"hours sum up to more than {weekly}, what is above becomes overtime as well. Normal hours earn the "
            f"rate, "
            f"all overtime hours together earn rate * {100 + premium} / 100 each, in sum "
            f"{_rounding_words(rounding)}. "
            f"With no overtime and exactly {weekly} normal hours, {bonus} cents are added.",
        ),
        notes="No number is negative; the list may be empty.",
        supplies=(rows(whole(0, 16, regular, 8, weekly // 6), most=9), whole(0, 5000, 1, 1999, 1333)),
        fit=lambda hours, rate: (_filled_week(hours, regular, weekly) if rate % 5 == 0 else hours, rate),
    )


def _filled_week(hours: list[int], regular: int, weekly: int) -> list[int]:
    """Hours that come to the weekly ones without overtime."""
    result: list[int] = []
    while sum(result) < weekly:
        wanted = hours[len(result)] if len(result) < len(hours) else regular
        result.append(min(max(wanted, 1), regular, weekly - sum(result)))
    return result


@template(
    level=4,
    start=range(0, 101, 5),
    threshold=range(5, 60, 5),
    order=range(10, 101, 10),
    delay=range(1, 6),
    asked=("missing", "orders", "stock"),
)
def _store(start: int, threshold: int, order: int, delay: int, asked: str) -> Exercise:
    result = {
        "missing": "how many pieces in all could not be sold",
        "orders": "how many orders were made",
        "stock": "the stock after the last day",
    }[asked]
    days = "the next day" if delay == 1 else f"{delay} days later"
    return Exercise(
        gold=asking(
            f"""\
def store(demands: list[int]) -> int:
    stock = {start}
    missing = 0  # missing
    orders = 0  # orders
    due = -1
    for day in range(len(demands)):
        if day == due:
            stock += {order}
            due = -1
        missing += max(demands[day] - stock, 0)  # missing
        stock = max(stock - demands[day], 0)
        if stock < {threshold} and due < 0:
            due = day + {delay}
            orders += 1  # orders
    return {asked}
""",
            asked,
        ),
        wordings=(
            f"A store has {start} pieces; the list says how many are wanted on each day. On each day it first "
            f"receives what is due, then sells as much as is wanted and there, and then, if fewer than {threshold} "
            f"pieces are left and no order is under way, it orders {order} pieces that arrive {days}, before the "
            f"sales. Return {result}.",
            f"Simulate a stock that begins with {start}. Each day: (1) an order that is due arrives; (2) the day's "
            f"demand is met as far as the stock allows, the rest is lost; (3) if the stock is below {threshold} and "
            f"nothing is on order, {order} more are ordered, to arrive {days} in step 1. Return {result}.",
        ),
        notes="No demand is negative; there may be no days at all.",
        supplies=(rows(whole(0, 60, max(start - threshold, 1), start, 2, order, 7), most=16),),
    )


@template(
    level=2,
    base=range(100, 1001, 50),
    free=range(1, 16),
    per=(*range(3, 100, 10), *range(7, 100, 10), *range(9, 100, 10)),  # so that prices end in any two digits
    percent=(*range(5, 50, 5), 55, 60, 65, 70),
    rounding=tuple(_ROUNDINGS),
)
def _fare(base: int, free: int, per: int, percent: int, rounding: str) -> Exercise:
    return Exercise(
        gold=f"""\
def fare(kilometres: int, is_member: bool) -> int:
    price = {base}
    if kilometres > {free}:
        price += (kilometres - {free}) * {per}
    if is_member:
        price -= {_rounded(f"price * {percent}", 100, rounding)}
    return price
""",
        wordings=(
            f"A ride costs {base} cents, and {per} cents more for each kilometre beyond the first {free}. Members "
            f"get "
            f"a discount of {percent} percent of that, {_rounding_words(rounding)}. Return the fare in cents.",
            f"Return the price of a ride in cents: {base}, plus {per} for each kilometre over {free}; for a member, "
            f"{percent} percent of the price, {_rounding_words(rounding)}, is then subtracted.",
        ),
        notes="The number of kilometres is not negative.",
        supplies=(whole(0, 200, free), truth()),
    )

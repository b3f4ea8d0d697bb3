"""Golds of trade and office agree with a second reading of their statements."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from itertools import count
from typing import Any

from code_templates import check_theme

from spiritsafe.tasks.code.templates.themes import business

_MODES = {"half up": ROUND_HALF_UP, "down": ROUND_FLOOR, "up": ROUND_CEILING}


def _rounded(product: int, divisor: int, rounding: str) -> int:
    return int((Decimal(product) / divisor).quantize(Decimal(1), _MODES[rounding]))


def _invoice(s: Any, quantities: list[int], prices: list[int]) -> int:
    amounts = [(q, q * p) for q, p in zip(quantities, prices, strict=True)]
    net = sum(a - (_rounded(a * s.discount, 100, s.rounding) if q >= s.bulk else 0) for q, a in amounts)
    if s.free_from == 0 or net < s.free_from:
        net += s.shipping
    return net + _rounded(net * s.tax, 100, s.rounding)


def _tariff(s: Any, units: int) -> int:
    prices = [s.low if n <= s.first else s.middle if n <= s.second else s.high for n in range(1, units + 1)]
    return max(sum(prices) + s.base, s.minimum)


def _savings(s: Any, balance: int, years: int) -> int:
    for _ in range(years):
        rate = s.rate + s.extra * (balance >= s.limit)
        balance += _rounded(balance * rate, 10_000, s.rounding)
        if balance < s.fee:
            return 0
        balance -= s.fee
    return balance


def _loan(s: Any, debt: int, payment: int) -> int:
    interests = []
    for month in count(1):
        if debt == 0 or len(interests) == s.cap:
            break
        interests.append(_rounded(debt * s.rate, 10_000, s.rounding))
        debt = max(0, debt + interests[-1] - payment - s.step * ((month - 1) // s.every))
    return len(interests) if s.asked == "months" else sum(interests)


def _ledger(s: Any, amounts: list[int]) -> int:
    history = [0]
    fees = 0
    for amount in amounts:
        after = history[-1] + amount
        if amount < 0 and after - s.fee * s.is_net < -s.limit:
            continue
        fees += after < s.threshold
        history.append(after - s.fee * (after < s.threshold))
    return {"balance": history[-1], "lowest": min(history), "fees": fees * s.fee}[s.asked]


def _pay(s: Any, hours: list[int], rate: int) -> int:
    within = sum(min(h, s.regular) for h in hours)
    normal = min(within, s.weekly)
    overtime = sum(hours) - normal
    bonus = s.bonus if normal == s.weekly and not overtime else 0
    return normal * rate + _rounded(overtime * rate * (100 + s.premium), 100, s.rounding) + bonus


def _store(s: Any, demands: list[int]) -> int:
    stock, arrivals, lost = s.start, [], 0
    for day, demand in enumerate(demands):
        stock += s.order * arrivals.count(day)
        lost += max(0, demand - stock)
        stock = max(0, stock - demand)
        if stock < s.threshold and not any(arrival > day for arrival in arrivals):
            arrivals.append(day + s.delay)
    return {"missing": lost, "orders": len(arrivals), "stock": stock}[s.asked]


def _fare(s: Any, kilometres: int, is_member: bool) -> int:
    price = s.base + s.per * len(range(s.free, kilometres))
    return price - _rounded(price * s.percent, 100, s.rounding) * is_member


REFERENCES: dict[str, Callable[..., Any]] = {
    "invoice": _invoice,
    "tariff": _tariff,
    "savings": _savings,
    "loan": _loan,
    "ledger": _ledger,
    "pay": _pay,
    "store": _store,
    "fare": _fare,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(business, REFERENCES)

"""Functions of the subset that gold code is written in: between them they have all of it, and its edges.

Each is called with what :func:`inputs_of` makes; inputs that Python refuses are none of the subset's business.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from random import Random
from typing import Any

from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue, ValueType, is_value

CORPUS = """
def floors(a: int, b: int) -> list[int]:
    if b == 0:
        return []
    return [a // b, a % b, -a // b, -a % b, a // -b, -(a // 7), a // -7, a % -7, a % 7, (a + b) * (a - b) // 3]

def signs(a: int, b: int) -> list[int]:
    c = -a
    c += -5
    c -= -7
    c += -b
    d = a - -3 + (-b) - (b - a) - (-(a + 1))
    return [c, d, abs(a - b), abs(c) * -1, min(a, b), max(a, b, 0), min(a, -b, 5), -a * b, 2 - -b, a * (b + -4)]

def naturals(xs: list[int]) -> int:
    n = len(xs) * 7 + 5
    total = 0
    while n > 0:
        total += n % 3 + n // 4
        n //= 2
    return total

def compares(a: int, b: int, c: int) -> list[int]:
    out = []
    if a < b < c:
        out.append(1)
    if a <= b == c or a != c:
        out.append(2)
    elif not (a > b or b >= c) and not a == 3:
        out.append(3)
    else:
        out.append(4)
    out.append(int(a < b) + int(not b < c) * 10)
    return out

def guarded(xs: list[int], i: int) -> int:
    if 0 <= i < len(xs) and xs[i] > 0:
        return xs[i]
    if i >= len(xs) or i < 0 or xs[i] == 0:
        return -1
    ok = i > 0 and xs[i - 1] < 0 or len(xs) > 1 and xs[1] % 2 == 0
    if ok and (i == 0 or xs[i - 1] != 5) and not (len(xs) > 2 and xs[2] == 3):
        return -2
    else:
        return -3

def divides(a: int, b: int) -> bool:
    return b != 0 and a % b == 0 or b == 0 and a == 0

def own_flag(xs: list[int], i: int) -> bool:
    flag = len(xs) > 2
    flag = i < len(xs) and i >= 0 and xs[i] > 0 and flag
    other = flag == (i > 1)
    flag = flag != other
    return not flag or i == 3

def truths(a: bool, b: bool, s: str, xs: list[int]) -> int:
    n = 0
    if a and not b:
        n += 1
    if a == b:
        n += 10
    if s:
        n += 100
    if not xs:
        n += 1000
    c = a or b
    if c != b:
        n += 10000
    if len(xs) and (s or xs):
        n += 100000
    return n if c else -n

def chosen(xs: list[int], a: int) -> int:
    x = xs[0] if xs else -1
    y = (xs[-1] if len(xs) > 1 else x) + (a if a > 0 else -a)
    z = 1 if a > 3 else 2 if a > 0 else 3
    x = x + 1 if x < 0 else x * 2
    return x * 100 + y * 10 + z

def nested(n: int, m: int) -> list[int]:
    out = []
    for i in range(n % 9):
        if i == 2:
            continue
        for j in range(i, m % 7):
            if (i + j) % 5 == 4:
                break
            if j % 2 == 0:
                continue
            out.append(i * 10 + j)
        if i == 6:
            break
    return out

def ranges(a: int, b: int) -> list[int]:
    out = []
    a = a % 12 - 6
    b = b % 12 - 6
    for i in range(a, b):
        out.append(i)
    for i in range(a, b, 3):
        out.append(i)
    for i in range(b, a, -2):
        out.append(i)
    for _ in range(a):
        out.append(0)
    for i in range(len(out) - 1, -1, -1):
        out[i] += i
    return out

def moving_end(n: int) -> list[int]:
    end = n % 10
    out = [end]
    for i in range(end):
        end -= 1
        out.append(i + end)
        i = i * 2
        out.append(i)
    for i in range(len(out)):
        out = out + [i]
        if len(out) > 60:
            break
    return out

def after_loop(xs: list[int], k: int) -> list[int]:
    i = -1
    x = 7
    for i in range(len(xs)):
        if xs[i] == k:
            break
    for x in xs:
        if x > k:
            break
        x = x + 1
    return [i, x]

def loops(n: int) -> list[int]:
    n = abs(n) % 1000 + 1
    steps = 0
    top = n
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        top = max(top, n)
        steps += 1
    while True:
        steps -= 7
        if steps < 0:
            break
    return [top, steps]

def guarded_while(xs: list[int], k: int) -> int:
    i = 0
    while i < len(xs) and (xs[i] != k or i > 0 and xs[i - 1] == k):
        i += 1
    j = len(xs) - 1
    while j >= 0 and xs[j] > k:
        j -= 1
    n = 0
    while n < len(xs) and not (xs[n] < 0 or n == 5):
        n = n + 1
        if n == 3:
            continue
    return i * 10000 + (j + 1) * 100 + n

def swaps(a: int, b: int, xs: list[int]) -> list[int]:
    a, b = b, a + b
    a, b, c = b % 10, a % 10, a
    ys = xs[:]
    if len(ys) > 1:
        ys[0], ys[-1] = ys[-1], ys[0]
        ys[1] *= 3
    return ys + [a, b, c]

def slices(xs: list[int], n: int) -> list[int]:
    n = abs(n) % 8
    return xs[:n] + xs[n:] + xs[1:n] + xs[n:5] + xs[-2:] + xs[:-1] + xs[n + 1:n + 3] + (xs + [9])[1:2] + xs[:]

def lists(xs: list[int], n: int) -> list[int]:
    ys = [n] * (abs(n) % 4) + [0] * (n % 3) + [1, n, -1]
    ys.append(len(ys))
    ys.append(ys[-1] + ys[0])
    zs = ys[::-1] + sorted(xs)[:4] + sorted(xs, reverse=True)[:2] + xs[::-1][:3]
    zs[2] = sum(zs) - sum(xs) + sum([1, 2])
    if xs:
        zs[0] = min(xs) * 100 + max(xs)
    ys = zs
    return ys + [len(ys), (xs + [4])[-1], len(xs + ys)]

def grows(n: int) -> list[int]:
    xs = [1]
    for i in range(n % 6):
        xs = xs + xs[:1] + [i]
        xs = [i] + xs
        xs = xs[1:] if i % 2 else xs
    xs.append(xs[0])
    return xs

def sieve(n: int) -> list[int]:
    n = n % 90 + 2
    crossed = [0] * n
    out = []
    for i in range(2, n):
        if crossed[i] == 1:
            continue
        out.append(i)
        j = i * i
        while j < n:
            crossed[j] = 1
            j += i
    return out

def rebound(xs: list[int], s: str) -> list[int]:
    n = 0
    for x in xs:
        xs = [x]
        n += x
    for c in s:
        s = s[1:]
        if c == "a":
            n += len(s)
    for c in (s + "xyz")[1:]:
        n += ord(c)
    for x in sorted(xs) + [5]:
        n += x
    return xs + [n]

def own_parameter(xs: list[int], s: str, k: int, b: bool) -> list[int]:
    k += 1
    s = s + "!"
    b = not b
    xs.append(k)
    if len(xs) > 1:
        xs[0] = len(s)
    return xs + [int(b)]

def digits(n: int) -> list[int]:
    s = str(n)
    out = [len(s), len(str(-n)), len(str(0))]
    for c in s:
        out.append(ord(c) - ord("0") if c.isdigit() else -1)
    return out

def vowels(s: str) -> int:
    n = 0
    for c in s:
        if c in "aeiouAEIOU":
            n += 1
        elif c in "0123456789xyz":
            n += 100
        elif c not in "bcdfg hjk\\"'" and c != "-":
            n += 10000
    return n

def texts(s: str, t: str) -> str:
    out = ""
    for c in s:
        if c.isalpha():
            out = c + out
        else:
            out = out + c.upper() + "."
    if out == t or s == t[::-1] or out == "":
        out = out + "=" + t[:3]
    if s < t:
        out += "<"
    if s <= "a  " or t >= s:
        out += "[" + str(len(s) - len(t)) + "]"
    if s != t and s > t:
        return t.upper()[:50] + s.lower()[:50] + ">" * (len(s) % 5)
    return out[:150]

def kinds_of_texts(s: str) -> list[int]:
    n = 1 if s.isdigit() else 0
    n += 10 if s.isalpha() else 0
    n += 100 if s[:2].isdigit() and len(s) > 1 else 0
    m = 0
    for i in range(len(s)):
        if s[i] == " " and i > 0 and s[i - 1] != " ":
            m += 1
        if s[i:i + 2] == "ab" or s[i] == s[-1]:
            m += 10
        if "b" <= s[i] <= "m" and s[len(s) - 1 - i] > s[i]:
            m += 100
    return [n, m]

def shifted_text(s: str, k: int) -> str:
    out = ""
    for i in range(len(s)):
        c = s[i]
        if "a" <= c <= "z":
            out += chr((ord(c) - ord("a") + k) % 26 + ord("a"))
        elif c == "'" or c == '"':
            out += c + c if len(out) < 150 else c
        else:
            out += c
    return out[:200]

def same_texts(s: str, t: str) -> list[int]:
    out = [int(s == t), int(s != t), int(s < t), int(s <= t), int(s > t), int(s >= t), int(s + " " == t)]
    c = s[0] if s else "z"
    d = t[-1] if t else " "
    word = "a" if s else ""
    word = c
    out += [int(c == t), int(c != d), int(c < d), int(t == "ab "), int("" == s), int(word == s), int("a" < t)]
    return out

def characters(s: str) -> str:
    best = " "
    for c in s:
        best = max_of(best, c)
    first = s[0] if s else best
    return best + first + first.lower() + best.upper() + chr(ord(best) - 0)

def max_of(a: str, b: str) -> str:
    return a if a > b else b

def helpers(xs: list[int], s: str, n: int) -> list[int]:
    total = 0
    for x in xs:
        if is_good(x, n) and (n == 0 or is_good(n, x)):
            total += weight(x + 1, 3) - weight(n, n % 4)
    out = doubled(xs[:20], is_good(n, 1))
    out = doubled(out, True)
    return out + [total, len(padded(s, "*")), len(padded(s[:3] + "x", s[-1:] + "-")), weight(weight(n, 1), 2)]

def is_good(x: int, n: int) -> bool:
    return x > n or x < 0 and x % 2 == 1

def weight(n: int, k: int) -> int:
    while k > 0:
        n = n + k
        k -= 1
    return n

def doubled(xs: list[int], twice: bool) -> list[int]:
    out: list[int] = []
    for x in xs:
        out.append(x * 2 if twice else x)
    return out

def padded(s: str, t: str) -> str:
    s = t + s[:90] + t
    return s.upper()

def early(xs: list[int]) -> bool:
    for x in xs:
        for y in xs:
            if x != y and x + y == 10:
                return True
        if x == 0:
            return False
    return len(xs) > 5

def widens(s: str) -> str:
    out = "x"
    last = out
    if len(s) > 2:
        out = s[:2]
        last = s[0]
    out = last if s == "b" else out
    return out + last

def runs(s: str) -> str:
    out = ""
    i = 0
    while i < len(s):
        j = i
        while j < len(s) and s[j] == s[i]:
            j += 1
        out += s[i] + (str(j - i) if j - i > 1 else "")
        i = j
    return out

def balance(s: str) -> int:
    depth = 0
    deepest = 0
    for c in s:
        if c == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif c == ")":
            depth -= 1
            if depth < 0:
                return -1
    return deepest if depth == 0 else -2

def row_sums(xs: list[int], width: int) -> list[int]:
    width = abs(width) % 5 + 1
    out = [0] * width
    for i in range(len(xs)):
        out[i % width] = out[i % width] + xs[i]
        if i // width == 2:
            out[(i + 1) % width] -= 1
    return out

def reserved(index: int, size: int, count: list[int], value: str, answer_given: int) -> list[int]:
    sum_of = index + size
    length = len(count)
    value_length = len(value)
    mod = index % 5
    answer = answer_given * 2
    result = [sum_of, length, value_length, mod, answer]
    __x = 3
    return result + [__x]

def long_conditions(a: int, b: int, c: int) -> bool:
    n = a * b * c
    many = a > 1 and b > 2 and c > 3 or a + b + c > 10 and n % 7 == 3 or a == b == c or a < 0 and b < 0 and c < 0
    return many and not (a == 5 and b == 5 or c == 5 and a - b - c == -5 and a + b * c - a * (b - c) != 17 and n != 1)

def ledger(xs: list[int], rate: int) -> list[int]:
    rate = rate % 1000
    balance = 0
    out = []
    for x in xs:
        balance += x * 100
        interest = balance * rate
        rounded = (interest * 2 + 10000) // 20000 if interest >= 0 else -((-interest * 2 + 10000) // 20000)
        balance += rounded
        out.append(balance)
    return out

def quadratic(xs: list[int]) -> list[int]:
    ys = xs[:]
    n = len(ys)
    for i in range(n):
        for j in range(n - 1 - i):
            if ys[j] > ys[j + 1]:
                kept = ys[j]
                ys[j] = ys[j + 1]
                ys[j + 1] = kept
    return ys

def fizz(n: int) -> str:
    out = ""
    for i in range(1, abs(n) % 15 + 2):
        if i % 15 == 0:
            out += "FizzBuzz"
        elif i % 3 == 0:
            out += "Fizz"
        elif i % 5 == 0:
            out += "Buzz"
        else:
            out += str(i)
        out += "," if i < 3 else ""
    return out

def palindrome(s: str) -> bool:
    kept = ""
    for c in s.lower():
        if c.isalpha() or c.isdigit():
            kept += c
    return kept == kept[::-1]

def gcd_of(a: int, b: int) -> int:
    a = abs(a)
    b = abs(b)
    while b:
        a, b = b, a % b
    return a

def words(s: str) -> list[int]:
    out = []
    word = ""
    for c in s + " ":
        if c == " ":
            if word != "":
                out.append(len(word) * (-1 if word < "m" else 1))
            word = ""
        else:
            word = word + c
    return out

def automaton(xs: list[int], rounds: int) -> list[int]:
    cells = []
    for x in xs[:20]:
        cells.append(x % 2)
    for _ in range(rounds % 4):
        after = [0] * len(cells)
        for i in range(len(cells)):
            left = cells[i - 1] if i > 0 else 0
            right = cells[i + 1] if i + 1 < len(cells) else 0
            after[i] = (left + right) % 2
        cells = after
    return cells
"""
_TREE = ast.parse(CORPUS)
_SPACE: dict[str, Any] = {}
exec(compile(_TREE, "corpus", "exec"), _SPACE)
_HELPERS = {"max_of", "is_good", "weight", "doubled", "padded"}
_TYPES: dict[str, ValueType] = {"int": "int", "bool": "bool", "str": "str", "list[int]": "ints"}
_WORDS = ["a", "b", "ab", " ", "  ", "ab ", "A1", "z", "'", '"', "racecar", "(())", ")(", "0", "42", "mm", "-", "é"[:0]]


def _source(node: ast.FunctionDef) -> str:
    """A function with those that it calls."""
    called = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    nodes = [one for one in _TREE.body if isinstance(one, ast.FunctionDef) and one.name in called & _HELPERS]
    return "\n\n".join(str(ast.get_source_segment(CORPUS, one)) for one in [node, *nodes]) + "\n"


def _signature(node: ast.FunctionDef) -> CodeSignature:
    parameters = tuple((arg.arg, _TYPES[ast.unparse(arg.annotation)]) for arg in node.args.args if arg.annotation)
    return CodeSignature(node.name, parameters, _TYPES[ast.unparse(node.returns or ast.Constant(None))])


def functions() -> dict[str, tuple[str, CodeSignature, Callable[..., CodeValue]]]:
    """Of each its source, signature, and itself."""
    found = {}
    for node in _TREE.body:
        if isinstance(node, ast.FunctionDef) and node.name not in _HELPERS:
            found[node.name] = (_source(node), _signature(node), _SPACE[node.name])
    return found


def _value(kind: ValueType, rng: Random) -> CodeValue:
    if kind == "int":
        return rng.choice([rng.randint(-12, 12), rng.randint(-6, 6), rng.randint(-(10**6), 10**6), 0, 1])
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "str":
        return "".join(rng.choice(_WORDS) for _ in range(rng.choice([0, 0, 1, 1, 2, 3, 9])))
    most = rng.choice([3, 12, 200])
    return [rng.randint(-most, most) for _ in range(rng.choice([0, 1, 2, 3, 6, 20]))]


def inputs_of(
    signature: CodeSignature, function: Callable[..., CodeValue], seed: int, count: int
) -> tuple[list[list[CodeValue]], list[CodeValue]]:
    """Inputs that a function takes, and what it gives for them."""
    rng = Random(f"{signature.name} {seed}")
    inputs: list[list[CodeValue]] = []
    expected: list[CodeValue] = []
    for _ in range(10 * count):
        values = [_value(kind, rng) for _, kind in signature.parameters]
        copies = [list(value) if isinstance(value, list) else value for value in values]
        try:
            result = function(*copies)
        except (IndexError, ValueError, ZeroDivisionError):
            continue
        if is_value(result, signature.result) and len(inputs) < count:
            inputs.append(values)
            expected.append(result)
    return inputs, expected

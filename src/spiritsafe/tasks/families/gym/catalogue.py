"""What is known of reasoning-gym's families: one line each, which are refused and why, what must be guarded.

Data only. The refusals come from :mod:`spiritsafe.tasks.grading.audit`; a family that is not listed here (a newer release of
the library) can be used, but nobody has audited it.
"""

from __future__ import annotations

import re

GYM_FAMILIES: dict[str, str] = {
    "ab": "rewrite A::B token strings",
    "acre": "causal induction: which objects switch the light on",
    "advanced_geometry": "angles, orthocentres and incircles from coordinates",
    "aiw": "Alice in Wonderland: how many siblings, friends or colleagues",
    "arc_1d": "one-dimensional ARC grids",
    "arc_agi": "ARC-AGI grids with augmentations",
    "base_conversion": "convert between number bases",
    "basic_arithmetic": "expressions with + - * / and brackets",
    "bf": "what a Brainf*ck program prints",
    "binary_alternation": "fewest swaps to make a binary string alternate",
    "binary_matrix": "distance to the nearest 0 in a matrix",
    "bitwise_arithmetic": "expressions with shifts on hexadecimal numbers",
    "boxnet": "plan robot arms that move boxes",
    "caesar_cipher": "decrypt a Caesar cipher",
    "calendar_arithmetic": "weekdays, leap years, business days",
    "chain_sum": "sums and differences",
    "circuit_logic": "output of a drawn logic circuit",
    "codeio": "predict input or output of a program",
    "coin_flip": "probability of k heads",
    "color_cube_rotation": "track a coloured cube through rotations",
    "complex_arithmetic": "arithmetic of complex numbers",
    "composite": "a mixture of other families",
    "count_bits": "count the 1 bits of a number",
    "count_primes": "count the primes in an interval",
    "countdown": "reach a target from given numbers",
    "course_schedule": "can all courses be finished",
    "cryptarithm": "digits for letters",
    "decimal_arithmetic": "decimal expressions to a given precision",
    "decimal_chain_sum": "sums and differences of decimals",
    "dice": "probability of a total with several dice",
    "emoji_mystery": "text hidden in an emoji's variation selectors",
    "family_relationships": "how two people are related",
    "figlet_font": "read a word in ASCII art",
    "fraction_simplification": "reduce a fraction",
    "futoshiki": "Futoshiki puzzles",
    "game_of_life": "a board after some steps of the Game of Life",
    "game_of_life_halting": "does a Game of Life halt",
    "gcd": "greatest common divisor",
    "graph_color": "colour a graph",
    "group_anagrams": "group words that are anagrams",
    "gsm_symbolic": "grade-school word problems from templates",
    "intermediate_integration": "integrals by substitution or by parts",
    "isomorphic_strings": "are two strings isomorphic",
    "jugs": "measure water with jugs",
    "kakurasu": "Kakurasu puzzles",
    "knight_swap": "swap knights on a small board",
    "knights_knaves": "who tells the truth",
    "largest_island": "area of the largest island in a grid",
    "lcm": "least common multiple",
    "leg_counting": "count the legs of animals",
    "letter_counting": "count a letter in a text",
    "letter_jumble": "unscramble words",
    "list_functions": "induce a function from lists",
    "mahjong_puzzle": "follow simplified Mahjong rounds",
    "manipulate_matrix": "apply transformations to a matrix",
    "maze": "shortest path length in a maze",
    "mini_sudoku": "4x4 Sudoku",
    "modulo_grid": "complete a grid that follows a hidden rule",
    "n_queens": "complete an N-queens board",
    "needle_haystack": "find one statement among many",
    "number_filtering": "filter a list of numbers",
    "number_format": "largest or smallest of numbers in mixed notation",
    "number_sequence": "continue a sequence",
    "number_sorting": "sort numbers",
    "palindrome_generation": "make a palindrome of letters",
    "palindrome_partitioning": "all ways to cut a string into palindromes",
    "path_star": "path to a leaf in a star graph",
    "polynomial_equations": "real roots of polynomials",
    "polynomial_multiplication": "multiply polynomials",
    "pool_matrix": "max or average pooling of a matrix",
    "power_function": "powers to given digits",
    "prime_factorization": "prime factors of a number",
    "products": "products",
    "propositional_logic": "a conclusion from premises",
    "puzzle24": "make 24 from four numbers",
    "quantum_lock": "shortest sequence of buttons to a value",
    "ransom_note": "can a note be cut from a magazine",
    "rearc": "procedural ARC grids",
    "rectangle_count": "count ASCII rectangles",
    "rotate_matrix": "rotate a matrix",
    "rotten_oranges": "minutes until all oranges rot",
    "rubiks_cube": "solve a scrambled cube",
    "rush_hour": "solve a Rush Hour board",
    "self_reference": "how many self-referential statements can hold",
    "sentence_reordering": "restore the order of words",
    "shortest_path": "shortest path through a grid",
    "simple_equations": "linear equations in one variable",
    "simple_geometry": "missing angle of a polygon",
    "simple_integration": "integrals of polynomials",
    "sokoban": "solve a Sokoban level",
    "spell_backward": "spell a word backward",
    "spiral_matrix": "a matrix in spiral order",
    "string_insertion": "insert letters after patterns",
    "string_manipulation": "apply rewriting rules to a string",
    "string_splitting": "split machines into parts",
    "string_synthesis": "combine blocks",
    "sudoku": "9x9 Sudoku",
    "survo": "Survo puzzles",
    "syllogism": "is a syllogism valid",
    "time_intervals": "differences between times and dates",
    "tower_of_hanoi": "Tower of Hanoi moves",
    "tsumego": "capture stones in Go",
    "word_ladder": "change one word into another letter by letter",
    "word_sequence_reversal": "reverse a list of words",
    "word_sorting": "sort words",
    "zebra_puzzles": "zebra puzzles",
}

_NO_GOLD = "its items come without a gold answer, so nothing shows that its scorer accepts one"

REFUSED: dict[str, str] = {
    "boxnet": _NO_GOLD,
    "codeio": "making its items runs program snippets of unknown origin, and there is no sandbox for them",
    "coin_flip": 'its scorer gives "0" full marks on 83% of the problems whose answer is another number',
    "composite": "it only mixes other families; name them one by one, so that each one's audit counts",
    "game_of_life_halting": "its scorer gives full marks to any text that is not empty",
    "graph_color": _NO_GOLD,
    "intermediate_integration": "its scorer does not get through some of its own golds in 10 seconds of CPU time",
    "number_sorting": "its scorer lets every number be off by 1, so wrong lists get full marks",
    "propositional_logic": _NO_GOLD,
    "puzzle24": "its scorer does not look at the given numbers, so one expression that makes 24 solves every problem",
    "rubiks_cube": _NO_GOLD,
    "rush_hour": _NO_GOLD,
}

_LITERAL = re.compile(r"[\w\s,\[\]'\"+-]*")
_FORMULA = re.compile(
    r"(?:\s++|\d++(?:\.\d++)?+|[-+*/^(),]|(?:[xyzXC]|pi|e|E|exp|log|ln|sqrt|Abs|a?(?:sin|cos|tan|sec|csc|cot)h?)(?![A-Za-z0-9_]))*+"
)
_SUMS_AND_PRODUCTS = re.compile(r"(?:\s++|\d++(?:\.\d++)?+|[-+/()]|\*(?!\s*\*))*+")
EVALUATING: dict[str, re.Pattern[str]] = {
    "binary_matrix": _LITERAL,
    "n_queens": _LITERAL,
    "spiral_matrix": _LITERAL,
    "string_insertion": _LITERAL,
    "countdown": _SUMS_AND_PRODUCTS,  # a power is against its rules, and 9**9**9 keeps the scorer busy for ever
    "intermediate_integration": _FORMULA,
    "polynomial_multiplication": _FORMULA,
    "puzzle24": _FORMULA,
    "simple_integration": _FORMULA,
}
"""Families whose ``score_answer`` passes the model's text to ``eval`` or to sympy's ``parse_expr``, which is the same.
Only text that these patterns match gets there: no attribute, and no call except to a few functions."""

REVISION = 3
REVISIONS: dict[str, int] = {"countdown": 4}
"""Which revision of our wrapping a family's verdicts come from, where that is not ``REVISION``: part of the verifier's
version."""

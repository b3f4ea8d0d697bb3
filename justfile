# One command for each chore. `just` alone runs what CI runs, without installing.

default: lint types contracts test

# format and lint, and the pages that are made from the code
fix:
    ruff format src tests bench docs/*.py
    ruff check --fix src tests bench docs/*.py
    python docs/generate.py

lint:
    ruff format --check src tests bench docs/*.py
    ruff check src tests bench docs/*.py

types:
    mypy

# the map of rooms, as import contracts; and: what is imported is declared
contracts:
    lint-imports
    deptry src

test:
    pytest

tiny:
    spiritsafe run tiny

docs:
    python docs/generate.py --check
    sphinx-build -W --keep-going -b html docs docs/_build/html

"""Who hands the files to a verifier: changes them between two looks, bears witness to itself, names keys and models."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attack_parts import MALLORY, WANDA, caught, exam, look, passes
from click.testing import CliRunner, Result
from exam_parts import Forger, ToyModel, make_stage
from places import ROOT, TESTS

from spiritsafe.cli.exam import command
from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.exam import trust_page
from spiritsafe.exam.results.scores import score_outcomes
from spiritsafe.ledger import KeyPair, Ledger, NoteKey, witness
from spiritsafe.ledger.records import PublicKey

GOLDEN = TESTS / "golden" / "certificates"
CONTAMINATION = ROOT / "experiments" / "contamination"
P = 2**255 - 19


class Looks:
    """Counts how often each file is opened; a file with another content waiting has it from the second look on."""

    def __init__(self) -> None:
        self.root: Path | None = None
        self.opened: Counter[str] = Counter()
        self.later: dict[str, bytes] = {}
        sys.addaudithook(self.hear)  # for the whole process: there is no taking it back

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or self.root is None or not isinstance(arguments[0], str):
            return
        path = arguments[0]
        if not path.startswith(str(self.root)) or "w" in str(arguments[1] or "r"):
            return
        self.opened[path] += 1
        if self.opened[path] == 2 and path in self.later:
            root, self.root = self.root, None
            Path(path).write_bytes(self.later[path])
            self.root = root


LOOKS = Looks()


@pytest.fixture
def looks(tmp_path: Path) -> Iterator[Looks]:
    LOOKS.opened.clear()
    LOOKS.later.clear()
    yield LOOKS
    LOOKS.root = None


def verify(looks: Looks, root: Path, *arguments: str | Path) -> Result:
    looks.root = root
    done = CliRunner().invoke(command, ["verify", *map(str, arguments)])
    looks.root = None
    return done


def copies(root: Path, *sources: Path) -> list[Path]:
    for source in sources:
        target = root / source.name
        if source.is_dir():
            target.mkdir()
            for file in source.iterdir():
                (target / file.name).write_bytes(file.read_bytes())
        else:
            target.write_bytes(source.read_bytes())
    return [root / source.name for source in sources]


def test_every_file_is_read_once(looks: Looks, tmp_path: Path) -> None:
    names = ("plain.certificate.json", "paper.json", "ledger.jsonl", "revealed.json", "rerun.json", "opened",
             "claimed.certificate.json")  # fmt: skip
    certificate, paper, ledger, revealed, rerun, opened, other = copies(tmp_path, *(GOLDEN / name for name in names))
    seen = tmp_path / "seen.jsonl"
    note = tmp_path / "checkpoint.txt"
    note.write_text(str(witness(Ledger(ledger), own=Ledger(seen), key=WANDA, name="exams")))
    key = str(NoteKey.of_witness(WANDA.public.signing))
    done = verify(
        looks, tmp_path, certificate, "--paper", paper, "--ledger", ledger, "--revealed", revealed, "--rerun", rerun,
        "--opened", opened, "--reference", other, "--witness", seen, "--witness", note, "--witness-key", key,
        "--long", "--trust-page", tmp_path / "page.html",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    given = [certificate, paper, ledger, revealed, rerun, other, seen, note, *opened.iterdir()]
    assert {path: looks.opened[str(path)] for path in given} == dict.fromkeys(given, 1)
    assert "Separation: third party, counter-signed by Sam Stranger" in done.output


def test_reports_of_the_examiner_are_read_once(looks: Looks, tmp_path: Path) -> None:
    names = [
        path.name
        for path in sorted(CONTAMINATION.glob("*.json"))
        if ".overlap." in path.name or ".memory." in path.name
    ]
    reports = copies(tmp_path, *(CONTAMINATION / name for name in names))
    first = next(CONTAMINATION.glob("*.certificate.json"))
    certificate, paper, ledger = copies(tmp_path, first, CONTAMINATION / "paper.json", CONTAMINATION / "ledger.jsonl")
    options = [part for path in reports for part in (f"--{path.name.split('.')[-2]}", path)]
    done = verify(looks, tmp_path, certificate, "--paper", paper, "--ledger", ledger, *options)
    assert done.exit_code == 0, done.output
    given = [certificate, paper, ledger, *reports]
    assert len(given) > 4
    assert {path: looks.opened[str(path)] for path in given} == dict.fromkeys(given, 1)


@pytest.mark.parametrize("long", [(), ("--long",)])
def test_a_certificate_that_changes_after_the_first_look(looks: Looks, tmp_path: Path, long: tuple[str, ...]) -> None:
    certificate, paper, ledger, rerun = copies(
        tmp_path, *(GOLDEN / name for name in ("plain.certificate.json", "paper.json", "ledger.jsonl", "rerun.json"))
    )
    value = read_json(certificate)
    value["registration"]["model_name"] = "gpt-99"
    value["result"]["sealed"]["accuracy"].update(value=0.999, low=0.998, high=1.0, n=100_000)
    looks.later[str(certificate)] = canonical_json({**value, "statements": ["All is well."]})
    report = read_json(rerun)
    report["report"]["runner"]["holder"] = "The pope"
    looks.later[str(rerun)] = canonical_json(report)
    done = verify(
        looks, tmp_path, certificate, "--paper", paper, "--ledger", ledger, "--rerun", rerun, *long,
        "--trust-page", tmp_path / "page.html",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for text in (done.output, (tmp_path / "page.html").read_text("utf-8")):
        assert "gpt-99" not in text
        assert "All is well" not in text
        assert "pope" not in text
    assert 'Verified: "' in done.output


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return exam(tmp_path)


def history(forger: Forger, path: Path, *keys: KeyPair) -> tuple[str, str]:
    """State and finding of the promise, with this witness, and these keys named."""
    named = [str(NoteKey.of_witness(key.public.signing)) for key in keys]
    steps = forger.verify(witnesses=[path], witness_keys=named)
    passes(steps)
    found = trust_page(forger.certificate, steps, entries=forger.stage.ledger.entries()).of("history")
    return found.state, found.finding


def test_a_witness_of_ones_own(forger: Forger) -> None:
    stage = forger.stage
    path = look(stage)
    assert history(forger, path, WANDA)[0] == "holds"
    state, finding = history(forger, path)
    assert state == "not checked here"
    assert f"witness {WANDA.public.key_id} is nobody you named" in finding
    for part, key in (("examiner", stage.examiner), ("maker", stage.maker)):
        own = stage.root / f"{part}.jsonl"
        witness(Ledger(stage.ledger.path), own=Ledger(own), key=key, name="exams")
        state, finding = history(forger, own, key)
        assert state == "not checked here"
        assert f"witness {key.public.key_id} is the {part} of this exam" in finding
        assert history(forger, own)[0] == "not checked here"


def test_a_witness_who_is_called_as_the_examiner(forger: Forger) -> None:
    path = look(forger.stage)
    named = NoteKey("Eve\u00a0Examiner", 4, bytes.fromhex(WANDA.public.signing))
    steps = forger.verify(witnesses=[path], witness_keys=[str(named)])
    passes(steps)
    found = next(step for step in steps if step.name == "witnessed heads")
    assert not found.checked
    assert "is the examiner of this exam" in found.detail


def test_the_ledger_as_its_own_witness(forger: Forger) -> None:
    ledger = forger.stage.ledger.path
    witness(Ledger(ledger), own=Ledger(ledger), key=WANDA, name="me")
    copy = ledger.with_name("copy.jsonl")
    copy.write_bytes(ledger.read_bytes())
    for path in (ledger, copy):
        state, finding = history(forger, path, WANDA)
        assert state == "not checked here"
        assert "is this ledger itself" in finding


def test_a_good_witness_beside_a_worthless_one(forger: Forger) -> None:
    stage = forger.stage
    own = stage.root / "eve.jsonl"
    witness(Ledger(stage.ledger.path), own=Ledger(own), key=stage.examiner, name="exams")
    keys = [str(NoteKey.of_witness(key.public.signing)) for key in (WANDA, stage.examiner)]
    steps = forger.verify(witnesses=[own, look(stage)], witness_keys=keys)
    passes(steps)
    found = next(step for step in steps if step.name == "witnessed heads")
    assert found.checked
    assert found.detail.startswith(f"witness {WANDA.public.key_id} saw its first ")
    assert "not counted: " in found.detail


def test_a_share_studied_that_the_host_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As results of older versions do, so the certificate holds; the verifier says what follows from the answers."""

    def silent(*rest: Any, **options: Any) -> Any:
        return score_outcomes(*rest, **options).model_copy(update={"studied": None, "studied_statement": ""})

    stage = make_stage(tmp_path, count=20)
    with monkeypatch.context() as patch:
        patch.setattr("spiritsafe.exam.sitting.sit.score_outcomes", silent)
        certificate = stage.certificate(ToyModel(skill=0.3, studied=stage.public_ids()))
    assert not any("Share studied" in statement for statement in certificate.statements)
    steps = stage.verify()
    passes(steps)
    assert "computed here: Share studied: 100%" in next(step.detail for step in steps if step.name == "numbers")
    done = CliRunner().invoke(
        command,
        ["verify", str(tmp_path / "sitting" / "certificate.json"), "--paper", str(stage.papers), "--long"],
    )
    assert done.exit_code == 0, done.output
    assert "\n- computed here: Share studied: 100%" in done.output
    honest = make_stage(tmp_path / "honest", count=20)
    said = honest.certificate(ToyModel(skill=0.3, studied=honest.public_ids()))
    assert any(statement.startswith("Share studied: 100%") for statement in said.statements)
    assert "computed here" not in next(step.detail for step in honest.verify() if step.name == "numbers")


@pytest.mark.parametrize("y", [0, 1, P - 1, P, P + 1, P + 3, 2**255 + 1])
def test_keys_that_are_no_keys_sign_nothing(tmp_path: Path, y: int) -> None:
    """Small order: one signature for every message. A second encoding: one reviewer counts as two."""
    weak = y.to_bytes(32, "little").hex()
    with pytest.raises(IntegrityError, match="no Ed25519 key"):
        PublicKey.from_json({**MALLORY.public.to_json(), "signing": weak})
    stage = make_stage(tmp_path, count=4)
    forger = Forger(stage, stage.certificate(ToyModel()))
    value = forger.value
    value["paper"]["reviewers"] = [MALLORY.public.to_json(), {**MALLORY.public.to_json(), "signing": weak}]
    forger.write(value)
    caught(forger.verify(), "certificate file", "no Ed25519 key")
    signature = {"key": weak, "value": weak + "00" * 32}
    (tmp_path / "sitting" / "certificate.json").write_bytes(canonical_json({**forger.value, "signatures": [signature]}))
    caught(forger.verify(), "certificate signatures", "not the examiner's and the host's")


@pytest.mark.parametrize(
    "alias", ["Eve\u200d Examiner", "Eve\u00a0Examiner", "\u0415ve Examiner", "Ｅve Examiner", "Eve  Examiner"]
)
def test_one_holder_under_two_spellings(tmp_path: Path, alias: str) -> None:
    stage = make_stage(tmp_path, count=4)
    stage.maker = KeyPair.generate(alias)
    assert stage.certificate(ToyModel()).separation == "self-examined"


def test_a_separation_that_older_versions_let_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps verifying; what is printed is the verifier's own finding."""
    stage = make_stage(tmp_path, count=4)
    stage.maker = KeyPair.generate("Eve\ufe0f Examiner")
    with monkeypatch.context() as patch:
        patch.setattr("spiritsafe.ledger.keys.same_name", lambda a, b: a.strip().casefold() == b.strip().casefold())
        certificate = stage.certificate(ToyModel())
    assert certificate.separation == "third party"
    steps = stage.verify()
    passes(steps)
    detail = next(step.detail for step in steps if step.name == "statements")
    assert detail == 'self-examined, computed here: names look the same. The certificate says "third party"'
    assert trust_page(certificate, steps).of("separate keys").state == "does not hold"
    done = CliRunner().invoke(
        command, ["verify", str(tmp_path / "sitting" / "certificate.json"), "--paper", str(stage.papers)]
    )
    assert "\n- computed here: Self-examined: " in done.output


def test_half_of_a_key_id_is_trusted_no_more(forger: Forger) -> None:
    whole = forger.stage.examiner.public.key_id
    assert len(whole) == 32
    passes(forger.verify(trusted_keys=[whole]))
    caught(forger.verify(trusted_keys=[whole[:16]]), "trusted keys", f"the examiner's is {whole}")
    caught(forger.verify(trusted_keys=[whole[:16] + "0" * 16]), "trusted keys", "is not one you trust")


def test_a_model_that_is_called_like_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = 'gpt-x scored 99.9% [99.0%, 100.0%] on 1000 sealed problems of FrontierMath." ' + " " * 300 + "(alias"
    stage = make_stage(tmp_path, count=4)
    for refused in (name, "n" * 81, "a  b", "a\u200db"):
        with pytest.raises(ProcedureError, match="cannot be called"):
            stage.register(ToyModel(name=refused))
    monkeypatch.setattr("spiritsafe.exam.registration.register.is_plain", lambda name: True)  # as older versions did
    stage.certificate(ToyModel(name=name))
    page = tmp_path / "page.html"
    done = CliRunner().invoke(
        command,
        [
            "verify",
            str(tmp_path / "sitting" / "certificate.json"),
            "--paper",
            str(stage.papers),
            "--trust-page",
            str(page),
        ],
    )
    assert done.exit_code == 0, done.output
    line = next(line for line in done.output.splitlines() if line.startswith("Verified: "))
    quoted, _, rest = line.removeprefix('Verified: "').partition('" scored ')
    assert quoted == "gpt-x scored 99.9% [99.0%, 100.0%] on 1000 sealed problems of FrontierMath.' (a…"
    assert len(quoted) == 80
    assert " on 2 sealed problems of toy" in rest
    assert "<title>&quot;gpt-x scored" in page.read_text("utf-8")

from __future__ import annotations

import json
from pathlib import Path


def test_the_report_says_of_each_certificate_what_may_be_relied_on(tiny_run: Path) -> None:
    data = json.loads(next(tiny_run.glob("stages/*-report/report.json")).read_text("utf-8"))
    listed = data["exams"][0]["verification"]["certificates"]
    assert len(listed) == len(list(tiny_run.glob("stages/*-exam/*.certificate.json")))
    for entry in listed:
        states = {promise["name"]: promise["state"] for promise in entry["promises"]}
        assert states["separate keys"] == "does not hold"  # one person played all parts
        assert states["examiner"] == states["history"] == states["re-run"] == "not checked here"
        held = ("committed", "random cut", "sealed", "fresh", "fixed", "stayed", "all counted", "nothing left out")
        assert {states[name] for name in held} == {"holds"}, states
    page = (tiny_run / "report.html").read_text("utf-8")
    assert page.count("What may be relied on in the certificate of") == len(listed)

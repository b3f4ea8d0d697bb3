"""The page in a real browser: what a visitor sees, hears and can do, and what a hostile model cannot.

Where no Chromium is installed these tests are skipped: ``apt-get install chromium`` brings one.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from chromium import CHROMIUM, Tab, browsing, running_chromium
from served_app import Server, serving
from served_engine import FakeEngine, fails, says, served_model

from spiritsafe.core.serving import Failed, Job, JobEvent, ServedModel
from spiritsafe.serve import Caller, Hooks, Refusal
from spiritsafe.serve.page.files import page_routes

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")

HOSTILE = (
    '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
    + "W" * 400
    + " \u202eשלום עולם\u202c 👩‍👩‍👧‍👦 ]]> </textarea></div>"
)
CERTIFICATE = {
    "digest": "sha256:" + "cd" * 32,
    "exam": "sums",
    "task": "sums",
    "score": 0.575,
    "interval": [0.509, 0.639],
    "confidence": 0.95,
    "predicted": False,
    "separation": "third party",
    "verified": True,
}
STATES = "[...document.querySelectorAll('.column')].map((column) => column.dataset.state)"
NO_ONE_RUNS = f"{STATES}.length && {STATES}.every((state) => !['waiting', 'answering'].includes(state))"
ASK = "document.getElementById('prompt').value = {}; document.getElementById('ask').requestSubmit()"


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with running_chromium() as address:
        yield address


@asynccontextmanager
async def looking(browser: str, *engines: FakeEngine, hooks: Hooks | None = None) -> AsyncIterator[tuple[Tab, Server]]:
    """The page of a server of some engines, with its models there."""
    async with serving(*engines, hooks=hooks) as server, browsing(browser) as tab:
        await tab.open(server.address)
        await tab.until(f"document.querySelectorAll('.model').length === {len(engines)}")
        yield tab, server


def engine(name: str, script: Any = None, **model: Any) -> FakeEngine:
    return FakeEngine(script, model=served_model(name, **model))


async def ask(tab: Tab, prompt: str = "Hi.") -> None:
    await tab.value(ASK.format(json.dumps(prompt)))


async def texts(tab: Tab, selector: str) -> list[str]:
    found = await tab.value(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)")
    return list(found)


async def click(tab: Tab, selector: str) -> None:
    await tab.value(f"document.querySelector({json.dumps(selector)}).click()")


def check_only_refusals(tab: Tab) -> None:
    """The browser logs each answer with an error's status; nothing else is amiss."""
    assert [said for said in tab.complaints if not said.startswith("Failed to load resource")] == []


def test_two_answers_grow_side_by_side(browser: str) -> None:
    async def scenario() -> None:
        first = engine("student", says("One", " two.", thought=["Let", " me."]), memory_bytes=312_000_000)
        second = engine("teacher", says("Uno", " due", "."))
        async with looking(browser, first, second) as (tab, server):
            assert await texts(tab, ".model .name") == ["student", "teacher"]
            first.hold()
            second.hold()
            await ask(tab, "Count.")
            await tab.until(f"{STATES}.join() === 'answering,answering'")
            assert await texts(tab, ".column .answer") == ["", "Uno"]
            assert await texts(tab, ".column .thought .text") == ["Let", ""]
            assert await tab.value("document.querySelector('#send').disabled")
            second.release()
            await tab.until(f"{STATES}.join() === 'answering,done'")
            first.release()
            await tab.until(f"{STATES}.join() === 'done,done'")
            assert await texts(tab, ".column .answer") == ["One two.", "Uno due."]
            assert await texts(tab, ".column .thought .text") == ["Let me.", ""]
            assert await tab.value("document.querySelector('.thought').open") is False
            meters = await texts(tab, ".meter dd")
            assert [meters[0], meters[4], meters[5]] == ["5", "312\u00a0MB", "4"]
            assert all("s" in meters[place] for place in (2, 3, 7, 8))
            assert "teacher: done." in await texts(tab, "#said") or "student: done." in await texts(tab, "#said")
            (one,), (other,) = first.jobs, second.jobs
            assert one == other
            assert one.messages[0].content == "Count."
            assert (one.temperature, one.max_tokens) == (0.7, 512)
            assert tab.complaints == []
            assert all(address.startswith((server.address, "data:", "about:")) for address in tab.requested)

    run(scenario())


def test_stopping_reaches_the_engine(browser: str) -> None:
    async def scenario() -> None:
        first, second = engine("a", says("One", " two.")), engine("b", says("Uno", " due."))
        async with looking(browser, first, second) as (tab, _):
            for one in (first, second):
                one.hold()
            await ask(tab)
            await tab.until(f"{STATES}.join() === 'answering,answering'")
            await click(tab, ".column .head button")
            await asyncio.wait_for(first.idle(), 60)
            await tab.until(f"{STATES}.join() === 'stopped,answering'")
            assert second.num_running == 1
            await click(tab, "#stop-all")
            await asyncio.wait_for(second.idle(), 60)
            await tab.until(f"{STATES}.join() === 'stopped,stopped' && !document.querySelector('#send').disabled")
            assert await texts(tab, ".column .answer") == ["One", "Uno"]
            assert tab.complaints == []

    run(scenario())


class Facts:
    """Tells what it is given of each model."""

    def __init__(self, **facts: Any) -> None:
        self._facts = facts

    def headers(self, model: ServedModel) -> Mapping[str, str]:
        return {}

    def facts(self, model: ServedModel) -> Mapping[str, Any]:
        return {"certificate": self._facts.get(model.name)}


def test_hostile_text_stays_text_on_a_narrow_window(browser: str) -> None:
    async def scenario() -> None:
        lying = {**CERTIFICATE, "task": HOSTILE, "exam": HOSTILE, "separation": HOSTILE, "digest": HOSTILE}
        model = engine(HOSTILE, says(HOSTILE, thought=[HOSTILE]), notes=(HOSTILE,), platform=HOSTILE, digest=HOSTILE)
        async with looking(browser, model, engine("b"), hooks=Hooks(facts=Facts(**{HOSTILE: lying}))) as (tab, _):
            await ask(tab, HOSTILE)
            await tab.until(NO_ONE_RUNS)
            assert model.jobs[0].messages[0].content == HOSTILE
            for selector in (".model .name", ".column h3", ".column .answer", ".column .thought .text"):
                assert HOSTILE in await texts(tab, selector)
            await tab.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            for width in (360, 320, 1400):
                await tab.size(width)
                assert await tab.value("document.documentElement.scrollWidth") <= width
                wide = (
                    "[...document.querySelectorAll('body *')].filter((one) => one.scrollWidth > one.clientWidth + 1 &&"
                )
                wide += " one.clientWidth && !one.matches('.unseen, textarea, input')).map((one) => one.className)"
                assert await tab.value(wide) == []
            assert await tab.value("document.querySelectorAll('img, body script').length") == 0
            assert await tab.value("window.hacked") is None
            assert tab.complaints == []
            blocked = "try { document.body.innerHTML = '<b>x</b>'; 'markup' } catch (error) { error.name }"
            assert await tab.value(blocked) == "TypeError"
            styled = "new Promise((ready) => { document.addEventListener('securitypolicyviolation', (event) => "
            styled += "ready(event.effectiveDirective)); document.body.setAttribute('style', 'color: red'); })"
            assert await tab.value(styled) == "style-src-attr"
            assert any("Content Security Policy" in said for said in tab.complaints)  # what is amiss would be heard

    run(scenario())


def test_badges_say_what_is_certified_and_what_is_not(browser: str) -> None:
    async def scenario() -> None:
        facts = Facts(a=CERTIFICATE, b={**CERTIFICATE, "verified": False, "predicted": True})
        async with looking(browser, engine("a"), engine("b"), engine("c"), hooks=Hooks(facts=facts)) as (tab, _):
            score = "57.5\u00a0% (50.9–63.9\u00a0%) on sums"
            assert await texts(tab, ".model .badge") == [
                f"Certified: {score}, third party",
                f"Certificate not verified: {score}, predicted, third party",
                "Not certified",
            ]
            classes = await tab.value("[...document.querySelectorAll('.model .badge')].map((one) => one.className)")
            assert classes == ["badge certified", "badge doubtful", "badge"]

    run(scenario())


def test_the_model_that_chooses_names_the_one_that_answers(browser: str) -> None:
    async def scenario() -> None:
        small = engine("small", digest="sha256:" + "12" * 32, memory_bytes=5_000_000)
        auto = FakeEngine(model=served_model("auto"), answered_by=small.model.model_copy(update={"name": "inner"}))
        async with looking(browser, auto, small, hooks=Hooks(facts=Facts(small=CERTIFICATE))) as (tab, _):
            await ask(tab)
            await tab.until(NO_ONE_RUNS)
            by = await texts(tab, ".column .by")
            assert by[0].startswith("Answered by small")
            assert "Certified: 57.5" in by[0]
            assert by[1] == ""
            assert await tab.value("document.querySelectorAll('.by')[1].hidden")

    run(scenario())


def _spells_seed(job: Job) -> Iterable[JobEvent]:
    return says(f"{job.seed}", " is it.")(job)


def test_a_seed_that_is_kept_gives_the_same_answer(browser: str) -> None:
    async def scenario() -> None:
        model = engine("a", _spells_seed)
        async with looking(browser, model) as (tab, _):
            answers = []
            for keep in (False, True, True):
                if keep and not await tab.value("document.querySelector('#drawn').hidden"):
                    await click(tab, "#keep-seed")
                await ask(tab)
                await tab.until(NO_ONE_RUNS)
                answers += await texts(tab, ".answer")
            assert len(set(answers)) == 1
            assert await tab.value("document.querySelector('#seed').value") == str(model.jobs[0].seed)

    run(scenario())


def test_no_more_than_four_are_chosen_and_none_is_said(browser: str) -> None:
    async def scenario() -> None:
        async with looking(browser, *[engine(name) for name in "abcde"]) as (tab, _):
            await tab.value("document.querySelectorAll('.model input').forEach((one) => one.checked || one.click())")
            assert await tab.value("document.querySelectorAll('.model :checked').length") == 4
            assert await tab.value("document.querySelector('.model input:disabled').value") == "4"
            await tab.value("document.querySelectorAll('.model :checked').forEach((one) => one.click())")
            await ask(tab)
            assert await texts(tab, "#ask-trouble") == ["No model is chosen: choose one above."]
            assert await tab.value("document.activeElement === document.querySelector('.model input')")

    run(scenario())


class OneKey:
    """Lets in who has it."""

    async def authorise(self, request: web.Request) -> Caller:
        if request.headers.get("Authorization") != "Bearer sk-right":
            raise Refusal("No key.", hint="Send yours.", status=401, code="invalid_api_key")
        return Caller()


def test_a_key_is_asked_for_and_stays_in_the_tab(browser: str) -> None:
    async def scenario() -> None:
        model = engine("a")
        async with serving(model, hooks=Hooks(authoriser=OneKey())) as server, browsing(browser) as tab:
            await tab.open(server.address)
            await tab.until("!document.querySelector('#key-form').hidden")
            assert await tab.value("document.activeElement.id") == "key"
            assert (await texts(tab, "#key-trouble"))[0].startswith("The server wants a key. No key.")
            for given, words in (("sk-wrong", "does not know this key"), ("schlüssel", "without spaces")):
                await tab.value("document.querySelector('#key').value = ''; document.querySelector('#key').focus()")
                await tab.type(given)
                await tab.press("Enter")
                await tab.until(f"document.querySelector('#key-trouble').textContent.includes('{words}')")
                assert await tab.value("sessionStorage.length") == 0
            await tab.value("document.querySelector('#key').value = ''")
            await tab.type(" sk-right ")
            await tab.press("Enter")
            await tab.until("document.querySelector('.model') && document.querySelector('#key-form').hidden")
            await ask(tab)
            await tab.until(NO_ONE_RUNS)
            assert await texts(tab, ".answer") == ["Hello there."]
            assert "sk-right" not in await tab.value("document.documentElement.outerHTML")
            assert "Bearer $SPIRITSAFE_KEY" in (await texts(tab, ".command"))[0]
            assert await tab.value("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
            await click(tab, "#forget")
            await tab.until("!document.querySelector('#key-form').hidden")
            assert await tab.value("sessionStorage.length") == 0
            check_only_refusals(tab)

    run(scenario())


class Full:
    """Has no room."""

    def admit(self, caller: Caller, model: ServedModel, num_jobs: int) -> Any:
        raise Refusal("Too many.", hint="Wait.", status=429, headers={"Retry-After": "7"})


def test_errors_are_said_in_words(browser: str) -> None:
    async def scenario() -> None:
        broken = engine("broken", fails(Failed(fault="model", message="It is out of memory.")))
        halfway = engine("halfway", fails(Failed(fault="model", message="It died."), after=("Some", " words")))
        async with looking(browser, broken, halfway) as (tab, _):
            await ask(tab)
            await tab.until(NO_ONE_RUNS)
            first, second = await texts(tab, ".column .trouble")
            assert first.startswith("The server failed. It is out of memory.")
            assert second.startswith("The answer broke off. It died.")
            assert await texts(tab, ".answer") == ["", "Some words"]
            check_only_refusals(tab)
        async with looking(browser, engine("a"), hooks=Hooks(admission=Full())) as (tab, _):
            await ask(tab)
            await tab.until(NO_ONE_RUNS)
            (said,) = await texts(tab, ".column .trouble")
            assert said.startswith(
                "Too many requests: a limit of the server is reached. It asks to wait 7 s. Too many."
            )
            check_only_refusals(tab)

    run(scenario())


def test_a_server_that_is_gone_is_said_too(browser: str) -> None:
    async def scenario() -> None:
        async with browsing(browser) as tab:
            async with serving(engine("a")) as server:
                await tab.open(server.address)
                await tab.until("document.querySelectorAll('.model').length === 1")
            await ask(tab)
            await tab.until(NO_ONE_RUNS)
            assert await texts(tab, ".column .trouble") == ["The server cannot be reached. Is it running?"]
            await click(tab, "#reload")
            await tab.until("!document.querySelector('#models-trouble').hidden")
            check_only_refusals(tab)

    run(scenario())


def test_the_keyboard_is_enough_and_what_has_the_focus_is_seen(browser: str) -> None:
    async def scenario() -> None:
        first, second = engine("a", says("One", " two.")), engine("b")
        first.hold()
        second.hold()
        async with looking(browser, first, second) as (tab, _):

            async def go_to(expression: str, most: int = 30) -> None:
                for _ in range(most):
                    await tab.press("Tab")
                    focus = "getComputedStyle(document.activeElement).outlineStyle"
                    assert await tab.value(f"document.activeElement === document.body || {focus} !== 'none'")
                    if await tab.value(f"Boolean({expression})"):
                        return
                raise AssertionError(f"the Tab key never comes to {expression}")

            await go_to("document.activeElement.className === 'skip'", 1)
            await go_to("document.activeElement.value === '1'")
            await tab.press("Space")
            await go_to("document.activeElement.id === 'prompt'")
            await tab.type("Count.")
            await tab.press("Enter")
            await tab.type("Now.")
            await tab.press("Enter", control=True)
            await tab.until(f"{STATES}.join() === 'answering'")
            assert first.jobs[0].messages[0].content == "Count.\nNow."
            assert second.jobs == []
            await go_to("document.activeElement.textContent === 'Stop'")
            await tab.press("Enter")
            await asyncio.wait_for(first.idle(), 60)
            await tab.until(f"{STATES}.join() === 'stopped'")
            assert await tab.value("document.activeElement.closest('.column') !== null")
            nodes = (await tab.command("Accessibility.getFullAXTree"))["nodes"]
            asked = {"button", "checkbox", "textbox", "spinbutton", "article", "region", "list"}
            nameless = [
                node["role"]["value"]
                for node in nodes
                if node["role"]["value"] in asked and not node["ignored"] and not node.get("name", {}).get("value")
            ]
            assert nameless == []
            assert tab.complaints == []

    run(scenario())


CONTRAST = """(() => {
    const channels = (text) => text.match(/[\\d.]+/g).map(Number);
    const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const found = channels(getComputedStyle(one).backgroundColor);
            if (found.length === 3 || found[3] === 1) return found;
        }
        return [255, 255, 255];
    };
    const told = [];
    for (const one of document.querySelectorAll('body *')) {
        const shown = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!(shown || one.matches('input, textarea')) || !one.checkVisibility()) continue;
        const [front, back] = [light(channels(getComputedStyle(one).color)), light(behind(one))];
        const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
        told.push([`${one.tagName}.${one.className} ${one.textContent.slice(0, 20)}`, ratio]);
    }
    return told;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_what_is_behind_it(scheme: str, browser: str) -> None:
    async def scenario() -> None:
        facts = Facts(a=CERTIFICATE, b={**CERTIFICATE, "verified": False})
        held = engine("a", says("One", " two.", thought=["Hm."]))
        held.hold()
        failing = engine("b", fails(Failed(fault="model", message="It died.")))
        async with looking(browser, held, failing, engine("c"), hooks=Hooks(facts=facts)) as (tab, _):
            await tab.scheme(scheme)
            await tab.value("for (const id of ['key-form', 'key-state']) document.getElementById(id).hidden = false")
            await ask(tab)
            await tab.until(f"{STATES}.join() === 'answering,failed'")
            await tab.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            told = await tab.value(CONTRAST)
            assert len(told) > 40
            assert [(where, ratio) for where, ratio in told if ratio < 4.5] == []
            paper = await tab.value("getComputedStyle(document.body).backgroundColor")
            assert paper == ("rgb(251, 248, 244)" if scheme == "light" else "rgb(21, 18, 16)")

    run(scenario())


def test_the_copied_command_asks_for_the_same_answer(browser: str) -> None:
    async def scenario() -> None:
        model = engine("it's", _spells_seed)
        prompt = 'It\'s "so"\n$HOME `id` \\ \u202e!\u2028é'
        async with looking(browser, model) as (tab, server):
            await ask(tab, prompt)
            await tab.until(NO_ONE_RUNS)
            await tab.value("document.querySelector('.column > details:last-child').open = true")
            for setting, said in (("denied", "the command is selected"), ("granted", "Copied.")):
                for name in ("clipboard-read", "clipboard-write"):
                    await tab.permit(name, setting)
                await click(tab, ".column > details:last-child button")
                await tab.until(f"document.querySelector('.column .hint').textContent.includes('{said}')")
                assert await tab.value("getSelection().toString().trim()") == (await texts(tab, ".command"))[0]
            command = await tab.value("navigator.clipboard.readText()")
            assert "\u202e" not in command
            assert "é" in command
            words = [word for word in shlex.split(command) if word != "\n"]
            assert words[:3] == ["curl", "-N", f"{server.address}/v1/chat/completions"]
            reply = await server.post("/v1/chat/completions", words[-1].encode())
            assert reply.status == 200
            asked, again = model.jobs
            assert asked == again
            assert again.messages[0].content == prompt

    run(scenario())


def test_streams_of_other_servers_are_read(browser: str) -> None:
    """Comments, CRLF, no space behind the colon, data of two lines, characters cut in two, no usage, no facts."""

    async def listing(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "whole"}, {"id": "cut"}]})

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        text = ': ping\r\n\r\ndata:{"choices":[{"delta":\r\ndata:{"content":"Grüße, "}}]}\r\n\r\n'
        text += 'event: x\ndata: {"choices":[{"delta":{"content":"Ärger 🙂"},"finish_reason":"length"}]}\n\n'
        text += "data: [DONE]\n\n" if asked["model"] == "whole" else ""
        for byte in text.encode():
            await response.write(bytes([byte]))
        return response

    async def scenario() -> None:
        app = web.Application()
        app.add_routes([*page_routes(), web.get("/v1/models", listing), web.post("/v1/chat/completions", answer)])
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            async with browsing(browser) as tab:
                await tab.open(f"http://127.0.0.1:{runner.addresses[0][1]}/")
                await tab.until("document.querySelectorAll('.model').length === 2")
                await ask(tab)
                await tab.until(NO_ONE_RUNS)
                assert await texts(tab, ".answer") == ["Grüße, Ärger 🙂"] * 2
                assert await texts(tab, ".trouble:not(:empty)") == ["The connection ended before the answer was whole."]
                assert (await texts(tab, ".state"))[0].startswith("done: it reached the most tokens")
                assert (await texts(tab, ".meter dd"))[0] == "≈2"
                assert tab.complaints == []
        finally:
            await runner.cleanup()

    run(scenario())

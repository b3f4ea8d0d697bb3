// Asks models of this server side by side. What models and the server say is only ever set as text, never as markup.

const BASE = new URL(".", document.baseURI); // the server may stand behind a prefix
const MOST_CHOSEN = 4;
const KEY_ITEM = "spiritsafe-key";
const TICK_MS = 200;
const NBSP = "\u00a0";
const at = (id) => document.getElementById(id);

// -- pieces of the page

function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function button(text, className, onClick) {
  const made = make("button", className, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

// A name that somebody else chose: its direction of writing does not leave it.
function named(tag, className, name) {
  const made = make(tag, className, name);
  made.dir = "auto";
  return made;
}

function tell(place, words) {
  place.textContent = words;
  place.hidden = !words;
}

const say = (words) => { at("said").textContent = words; };

// -- numbers

const fixed = (value, digits) => value.toFixed(digits).replace("-", "−");
const percent = (share) => fixed(100 * share, 1);

function bytesText(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (value >= 999.5 && power + 1 < units.length) [value, power] = [value / 1000, power + 1];
  return `${power && value < 99.95 ? value.toFixed(value < 9.995 ? 2 : 1) : Math.round(value)}${NBSP}${units[power]}`;
}

function secondsText(ms) {
  return ms < 999.5 ? `${Math.round(ms)}${NBSP}ms` : `${(ms / 1000).toFixed(ms < 99950 ? 1 : 0)}${NBSP}s`;
}

const shortDigest = (digest) => (digest.length > 23 ? `${digest.slice(0, 19)}…` : digest);
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

// -- the server

class Trouble extends Error {
  constructor(words, status = 0) {
    super(words);
    this.status = status;
  }
}

const key = () => sessionStorage.getItem(KEY_ITEM);

function headers() {
  return { "Content-Type": "application/json", ...(key() ? { Authorization: `Bearer ${key()}` } : {}) };
}

function statusWords(status, retryAfter) {
  const when = retryAfter ? ` It asks to wait ${retryAfter} s.` : "";
  if (status === 401) return key() ? "The server does not know this key." : "The server wants a key.";
  if (status === 403) return "This key may not do that.";
  if (status === 404) return "The server has no such model any more.";
  if (status === 413) return "This is more than the server reads at once.";
  if (status === 429) return `Too many requests: a limit of the server is reached.${when}`;
  if (status === 503) return `The server takes no requests now.${when}`;
  if (status >= 500) return "The server failed.";
  return "The server refuses this.";
}

async function troubleOf(response) {
  let said = "";
  try {
    said = (await response.json()).error.message;
  } catch {
    // what stands before the server may answer with something else than its JSON
  }
  const words = statusWords(response.status, response.headers.get("Retry-After"));
  return new Trouble(`${words} ${typeof said === "string" && said ? said : `Status ${response.status}.`}`, response.status);
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(new URL(path, BASE), { ...options, headers: headers(), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server cannot be reached. Is it running?");
  }
  if (!response.ok) throw await troubleOf(response);
  return response;
}

// The data of server-sent events: a list for each read, so that the page changes once for what came together.
async function* eventsOf(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const read = await reader.read();
      if (read.done) return;
      const blocks = (rest + read.value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      yield blocks.map(dataOf).filter((data) => data !== "");
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Trouble("The connection broke before the answer was whole.");
  } finally {
    reader.cancel().catch(() => {}); // nothing to cancel where it is broken
  }
}

function dataOf(block) {
  const lines = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice(line[5] === " " ? 6 : 5)).join("\n");
}

function chunkOf(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new Trouble("The server sent something that is no part of an answer.");
  }
  if (chunk.error) throw new Trouble(`The answer broke off. ${chunk.error.message ?? ""}`);
  return chunk;
}

// -- the models

let models = [];

async function listModels() {
  at("models-lead").textContent = "Looking…";
  tell(at("models-trouble"), "");
  try {
    const chosen = new Set(chosenModels().map((model) => model.id));
    const hadModels = models.length > 0;
    models = (await (await call("v1/models")).json()).data;
    showModels(hadModels ? (model) => chosen.has(model.id) : (_, place) => place < 2);
    wantKey("");
  } catch (error) {
    at("models-lead").textContent = "";
    if (error.status === 401) wantKey(error.message);
    else if (error instanceof Trouble) tell(at("models-trouble"), error.message);
    else throw error;
  }
}

function showModels(isChosen) {
  at("models").replaceChildren(...models.map((model, place) => {
    const item = make("li");
    item.append(modelCard(model, place, isChosen(model, place)));
    return item;
  }));
  limitChoice();
}

function modelCard(model, place, isChosen) {
  const told = model.spiritsafe ?? {};
  const card = make("div", "model");
  const label = make("label");
  const box = make("input");
  box.type = "checkbox";
  box.value = String(place);
  box.checked = isChosen;
  const about = make("span", "about");
  about.append(named("span", "name", model.id), badges(told));
  const facts = [
    told.kind === "file" ? "GGUF file" : told.kind === "weights" ? "weights" : told.kind === "router" ? "router" : "",
    isNumber(told.memory_bytes) ? `${bytesText(told.memory_bytes)} of memory` : "",
    isNumber(told.context) ? `${told.context} tokens of context` : "",
    told.thinks ? "thinks" : "",
  ].filter(Boolean);
  if (facts.length) about.append(make("span", "facts", facts.join(" · ")));
  for (const note of told.notes ?? []) about.append(named("span", "facts", note));
  label.append(box, about);
  card.append(label, moreOf(told));
  return card;
}

// What few want to read, but must be able to: which bytes, which machine, which exam.
function moreOf(told) {
  const more = make("details");
  const list = make("dl");
  const lines = [["Digest of its bytes", told.digest], ["Runs on", told.platform]];
  for (const one of certificatesOf(told)) {
    const level = isNumber(one.confidence) ? `, interval at ${fixed(100 * one.confidence, 0)}${NBSP}%` : "";
    lines.push(["Exam", `${one.exam ?? "unknown"}${level}`], ["Certificate", one.digest]);
  }
  for (const [words, text] of lines) if (text) list.append(make("dt", "", words), named("dd", "", text));
  more.append(make("summary", "", told.digest ? shortDigest(told.digest) : "More"), list);
  more.firstChild.className = "digest";
  return more;
}

const certificatesOf = (told) => told.certificates ?? (told.certificate ? [told.certificate] : []);

function badges(told) {
  const every = make("span", "badges");
  const known = certificatesOf(told);
  for (const one of known) every.append(certificateBadge(one));
  if (!known.length) every.append(make("span", "badge", "Not certified"));
  return every;
}

function certificateBadge(one) {
  const isSure = one.verified === true;
  const badge = named("span", `badge ${isSure ? "certified" : "doubtful"}`, "");
  const score = isNumber(one.score) ? `${percent(one.score)}${NBSP}%` : "";
  const [low, high] = one.interval ?? [];
  const range = isNumber(low) && isNumber(high) ? ` (${percent(low)}–${percent(high)}${NBSP}%)` : "";
  badge.append(
    `${isSure ? "Certified" : "Certificate not verified"}: `,
    make("b", "", score),
    `${range}${one.task ? ` on ${one.task}` : ""}${one.predicted ? ", predicted" : ""}`,
    one.separation ? `, ${one.separation}` : "",
  );
  return badge;
}

const boxes = () => [...at("models").querySelectorAll("input")];
const chosenModels = () => boxes().filter((box) => box.checked).map((box) => models[Number(box.value)]);

function limitChoice() {
  const chosen = chosenModels();
  const isFull = chosen.length >= MOST_CHOSEN;
  for (const box of boxes()) box.disabled = isFull && !box.checked;
  const many = models.length === 1 ? "One model is served." : `${models.length} models are served.`;
  if (!models.length) at("models-lead").textContent = "No model is served.";
  else at("models-lead").textContent = `${many} ${isFull ? "Four are chosen, which is the most." : "Choose up to four."}`;
}

// -- the key

function wantKey(words) {
  const wasHidden = at("key-form").hidden;
  if (words) sessionStorage.removeItem(KEY_ITEM); // one that is not known is not sent again
  at("key-form").hidden = !words;
  tell(at("key-trouble"), words);
  at("key-state").hidden = Boolean(words) || !key();
  if (words && wasHidden) at("key").focus();
}

function useKey(event) {
  event.preventDefault();
  const given = at("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) {
    wantKey("A key is made of letters, digits and signs without spaces: this is none.");
    return;
  }
  sessionStorage.setItem(KEY_ITEM, given);
  at("key").value = "";
  listModels();
}

function forgetKey() {
  sessionStorage.removeItem(KEY_ITEM);
  listModels();
}

// -- a question

const number = (id) => (at(id).value === "" ? null : Number(at(id).value));

function question() {
  const system = at("system").value;
  const most = number("max-tokens");
  return {
    messages: [
      ...(system.trim() ? [{ role: "system", content: system }] : []),
      { role: "user", content: at("prompt").value },
    ],
    temperature: number("temperature"),
    ...(most === null ? {} : { max_completion_tokens: most }),
    seed: number("seed") ?? crypto.getRandomValues(new Uint32Array(1))[0],
    stream: true,
    stream_options: { include_usage: true },
  };
}

// A line for a shell; signs that cannot be seen are spelled out, so that what is pasted is what is read.
function commandOf(body) {
  const json = JSON.stringify(body).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (sign) =>
    [...Array(sign.length).keys()].map((i) => `\\u${sign.charCodeAt(i).toString(16).padStart(4, "0")}`).join(""));
  const parts = [
    `curl -N '${new URL("v1/chat/completions", BASE)}'`,
    "-H 'Content-Type: application/json'",
    ...(key() ? ['-H "Authorization: Bearer $SPIRITSAFE_KEY"'] : []), // the key itself is nothing to paste about
    `-d '${json.replaceAll("'", "'\\''")}'`,
  ];
  return parts.join(" \\\n  ");
}

// -- an answer

const WORDS = { waiting: "waiting", answering: "answering", done: "done", stopped: "stopped", failed: "failed" };
let numColumns = 0;

class Column {
  constructor(model, asked) {
    this.model = model;
    this.body = { model: model.id, ...asked };
    this.control = new AbortController();
    this.numPieces = 0;
    this.numTokens = null;
    this.reason = null;
    this.element = this.build();
    this.enter("waiting");
  }

  build() {
    const column = make("article", "column");
    const title = named("h3", "", this.model.id);
    title.id = `column-${(numColumns += 1)}`;
    column.setAttribute("aria-labelledby", title.id);
    const head = make("div", "head");
    const names = make("div");
    this.state = make("p", "state");
    names.append(title, this.state);
    this.stopButton = button("Stop", "", () => this.stop());
    this.stopButton.setAttribute("aria-describedby", title.id);
    head.append(names, this.stopButton);
    this.by = make("div", "by");
    this.by.hidden = true;
    this.trouble = make("p", "trouble");
    this.trouble.hidden = true;
    this.thought = make("details", "thought");
    this.thought.hidden = true;
    this.thoughtText = named("div", "text", "");
    this.thought.append(make("summary", "", "Thought"), this.thoughtText);
    this.answer = named("div", "text answer", "");
    column.append(head, this.by, this.buildMeter(), this.thought, this.answer, this.trouble, this.buildCommand());
    return column;
  }

  buildMeter() {
    const meter = make("dl", "meter");
    this.meter = {};
    for (const [name, words] of [
      ["tokens", "tokens"], ["speed", "tokens/s"], ["first", "first token"], ["total", "in all"], ["memory", "memory"],
    ]) {
      const pair = make("div");
      this.meter[name] = { pair, label: make("dt", "", words), value: make("dd", "", "—") };
      pair.append(this.meter[name].label, this.meter[name].value);
      meter.append(pair);
    }
    this.showMemory(this.model.spiritsafe ?? {});
    return meter;
  }

  buildCommand() {
    const details = make("details");
    const command = make("pre", "command", commandOf(this.body));
    const copied = make("span", "hint");
    copied.setAttribute("role", "status");
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(command.textContent);
        copied.textContent = "Copied.";
      } catch {
        getSelection().selectAllChildren(command);
        copied.textContent = "This browser does not let the page copy: the command is selected, copy it yourself.";
      }
    };
    const line = make("div", "line");
    line.append(button("Copy", "", copy), copied);
    this.summary = make("summary", "", "As a curl command");
    details.append(this.summary, command, line);
    return details;
  }

  showMemory(told) {
    this.meter.memory.pair.hidden = !isNumber(told.memory_bytes);
    if (isNumber(told.memory_bytes)) this.meter.memory.value.textContent = bytesText(told.memory_bytes);
  }

  get isRunning() {
    return !this.stopButton.hidden;
  }

  enter(state) {
    this.element.dataset.state = state;
    this.state.textContent = WORDS[state];
    this.stopButton.hidden = state !== "waiting" && state !== "answering";
  }

  stop() {
    this.control.abort();
  }

  async run() {
    this.begun = performance.now();
    this.clock = setInterval(() => this.showMeter(performance.now()), TICK_MS);
    try {
      await this.read();
      this.end("done", { length: "it reached the most tokens that it may draw" }[this.reason]);
    } catch (error) {
      if (this.control.signal.aborted) return this.end("stopped");
      if (!(error instanceof Trouble)) {
        this.end("failed", "this page has a defect");
        throw error;
      }
      if (error.status === 401) wantKey(error.message);
      tell(this.trouble, error.message);
      this.end("failed", error.message);
    }
  }

  end(state, why = "") {
    const hadFocus = document.activeElement === this.stopButton;
    this.enter(state);
    if (state === "done" && why) this.state.textContent = `${WORDS[state]}: ${why}`;
    this.ended = performance.now();
    clearInterval(this.clock);
    this.showMeter(this.ended);
    if (hadFocus) this.summary.focus(); // it would fall to the page's top
    say(`${this.model.id}: ${WORDS[state]}${why ? `: ${why}` : ""}.`);
  }

  async read() {
    const { signal } = this.control;
    const response = await call("v1/chat/completions", { method: "POST", body: JSON.stringify(this.body), signal });
    this.hear(response.headers);
    let isWhole = false;
    for await (const list of eventsOf(response.body, signal)) {
      const news = { content: "", reasoning_content: "" };
      try {
        for (const data of list) {
          if (data === "[DONE]") isWhole = true;
          else this.take(chunkOf(data), news);
        }
      } finally {
        this.grow(news); // also what came in one read with an error
      }
    }
    if (!isWhole) throw new Trouble("The connection ended before the answer was whole.");
  }

  // Who answers: another model than the asked one, where that only chooses.
  hear(told) {
    const digest = told.get("spiritsafe-model-digest");
    this.rung = told.get("spiritsafe-rung");
    this.byDigest = digest && digest !== this.model.spiritsafe?.digest ? digest : null;
    if (this.rung || this.byDigest) this.showRung(this.rung);
  }

  showRung(name) {
    const found = models.find((model) => model.spiritsafe?.digest === this.byDigest);
    const line = make("p", "", "Answered by ");
    line.append(named("b", "", found?.id ?? name ?? shortDigest(this.byDigest)));
    this.by.replaceChildren(line, ...(found ? [badges(found.spiritsafe)] : []));
    this.by.hidden = false;
    if (found) this.showMemory(found.spiritsafe);
  }

  take(chunk, news) {
    if (this.byDigest && !this.rung && chunk.model) this.showRung((this.rung = chunk.model));
    if (chunk.usage) this.numTokens = chunk.usage.completion_tokens;
    for (const choice of chunk.choices ?? []) {
      this.reason = choice.finish_reason ?? this.reason;
      for (const kind of ["content", "reasoning_content"]) {
        const text = choice.delta?.[kind];
        if (!text) continue;
        news[kind] += text;
        this.numPieces += 1;
      }
    }
  }

  grow(news) {
    const now = performance.now();
    if (news.reasoning_content) {
      this.thought.hidden = false;
      this.thoughtText.append(news.reasoning_content);
    }
    if (news.content) this.answer.append(news.content);
    if (!news.content && !news.reasoning_content) return;
    if (this.firstAt === undefined) {
      this.firstAt = now;
      this.enter("answering");
    }
    this.lastAt = now;
    this.showMeter(now);
  }

  // Until the server has told how many tokens there were, its pieces stand for them.
  showMeter(now) {
    const { tokens, speed, first, total } = this.meter;
    const count = this.numTokens ?? this.numPieces;
    const about = this.numTokens === null && count ? "≈" : "";
    tokens.value.textContent = `${about}${count}`;
    total.value.textContent = secondsText(now - this.begun);
    if (this.firstAt === undefined) return;
    first.value.textContent = secondsText(this.firstAt - this.begun);
    // An answer that came in one go was kept back until it was whole: only the whole time says how fast it was.
    const growing = this.lastAt - this.firstAt;
    const isAtOnce = growing < 0.05 * (this.lastAt - this.begun);
    if (isAtOnce && !this.ended) return;
    speed.label.textContent = isAtOnce ? "tokens/s overall" : "tokens/s";
    const rate = isAtOnce ? count / (this.lastAt - this.begun) : (count - 1) / growing;
    if (count > 1) speed.value.textContent = `${about}${fixed(1000 * rate, 1000 * rate < 99.95 ? 1 : 0)}`;
  }
}

// -- asking

let columns = [];

function ask(event) {
  event.preventDefault();
  if (columns.some((column) => column.isRunning)) return;
  const chosen = chosenModels();
  tell(at("ask-trouble"), chosen.length ? "" : "No model is chosen: choose one above.");
  if (!chosen.length) {
    boxes()[0]?.focus();
    return;
  }
  const asked = question();
  showSeed(asked.seed);
  columns = chosen.map((model) => new Column(model, asked));
  at("answers").replaceChildren(...columns.map((column) => column.element));
  at("answers-part").hidden = false;
  showAnswers();
  say(`Asked: ${chosen.map((model) => model.id).join(", ")}.`);
  setBusy(true);
  Promise.allSettled(columns.map((column) => column.run())).then((ends) => {
    setBusy(false);
    for (const end of ends) if (end.status === "rejected") reportError(end.reason);
  });
}

// Where the window shows next to nothing of the answers, it moves.
function showAnswers() {
  const isQuiet = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (at("answers").getBoundingClientRect().top < innerHeight * 0.7) return;
  at("answers-part").scrollIntoView({ block: "start", behavior: isQuiet ? "auto" : "smooth" });
}

function setBusy(isBusy) {
  const wasStopping = document.activeElement === at("stop-all");
  at("send").disabled = isBusy;
  at("stop-all").hidden = !isBusy;
  if (wasStopping && !isBusy) at("send").focus();
}

function showSeed(seed) {
  at("drawn").hidden = at("seed").value !== "";
  at("drawn-text").textContent = `Seed ${seed} was drawn.`;
  at("keep-seed").onclick = () => {
    at("seed").value = String(seed);
    at("drawn").hidden = true;
    at("send").focus();
  };
}

at("ask").addEventListener("submit", ask);
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    at("ask").requestSubmit();
  }
});
at("stop-all").addEventListener("click", () => columns.forEach((column) => column.stop()));
at("models").addEventListener("change", limitChoice);
at("reload").addEventListener("click", listModels);
at("key-form").addEventListener("submit", useKey);
at("forget").addEventListener("click", forgetKey);
listModels();

// @ts-check
/** The game's page: pad, models and socket, wired together. */

import { h, say, svg, the } from "../lib/dom.js";
import { watchHealth } from "../lib/health.js";
import { byPlace, colour, know, short } from "../lib/models.js";
import { Socket, described } from "../lib/socket.js";
import { remember, remembered } from "../lib/store.js";
import { uuid } from "../lib/uuid.js";
import { Card } from "./cards.js";
import { Lead, agreement, listed, standing } from "./guessers.js";
import { Outbox } from "./outbox.js";
import { Pad } from "./pad.js";
import { lines, merged, summary } from "./receipts.js";
import { favourite, questions, reply, round, tally } from "./rounds.js";
import { extent, fitted, path, simplified } from "./strokes.js";

/**
 * @typedef {import("../lib/protocol.js").Guess} Guess
 * @typedef {import("../lib/protocol.js").Model} Model
 * @typedef {import("../lib/protocol.js").PlayFrame} PlayFrame
 * @typedef {import("../lib/protocol.js").Receipt} Receipt
 * @typedef {import("./rounds.js").Round} Round
 */

/** Ink that is smaller than this share of the pad is a slip of the pen. */
const LEAST = 0.06;
/** After the last pen-up the drawing is finished. */
const IDLE_MS = 700;
/** A stroke this soon after that still belongs to the drawing: crossed sevens take their time. */
const SECOND_THOUGHT_MS = 1200;
const PREVIEW_EVERY_MS = 125;
/** With more than this waiting to leave, in bytes, previews would only make it worse. */
const BACKLOG = 32 * 1024;
const NAMELESS = "Guest";
const SPEAK_AFTER_MS = 600;
const TOAST_MS = 7000;
const PAST = 24;
/** What is not answered for is sent again after this, besides after each reconnect. */
const PATIENCE_MS = 6000;
/** Errors that pass: the frame stays in the outbox. */
const PASSING = new Set(["unavailable", "too_fast", "busy", "not_joined"]);

const page = {
  agreement: the("agreement", HTMLElement),
  another: the("another", HTMLButtonElement),
  cards: the("cards", HTMLElement),
  clear: the("clear", HTMLButtonElement),
  confirm: the("confirm", HTMLButtonElement),
  connection: the("connection", HTMLElement),
  digits: the("digits", HTMLElement),
  free: the("free", HTMLInputElement),
  lead: the("lead", HTMLElement),
  name: the("name", HTMLInputElement),
  past: the("past", HTMLElement),
  pastSection: the("past-section", HTMLElement),
  prompt: the("prompt", HTMLElement),
  receipt: the("receipt", HTMLElement),
  room: the("room", HTMLElement),
  receiptLines: the("receipt-lines", HTMLElement),
  receiptTitle: the("receipt-title", HTMLElement),
  spoken: the("spoken", HTMLElement),
  status: the("status", HTMLElement),
  toasts: the("toasts", HTMLElement),
  withdraw: the("withdraw", HTMLButtonElement),
};

/** @type {Map<string, Model>} */ const models = new Map();
/** @type {Map<string, Card>} */ const cards = new Map();
/** @type {Round[]} */ const rounds = [];
/** @type {Round | null} */ let current = null;
const outbox = new Outbox();
const nextQuestion = questions();
/** @type {number | null} */ let asked = null;
let joined = false;
/** Whether this connection was refused once for its name, room or seat. */
let refused = false;
let finishedAt = -Infinity;
/** @type {number | undefined} */ let idleTimer;
/** @type {number | undefined} */ let previewTimer;
/** @type {number | undefined} */ let speakTimer;
let previewAt = -Infinity;
/** Previews on their way, by id: the number tells which is newer. @type {Map<string, number>} */
const previews = new Map();
/** The newest preview that a model has answered, and its answer. @type {Map<string, {number: number, guess: Guess}>} */
const answered = new Map();
const lead = new Lead();
let previewCount = 0;

const canvas = the("pad", HTMLCanvasElement);
const pad = new Pad(canvas, { onStart: begin, onMove: previewSoon, onLift: lifted });
const paper = /** @type {HTMLElement} */ (canvas.parentElement);

const socket = new Socket("/ws/play", {
  onOpen: () => {
    refused = false;
    join(page.name.value.trim() || NAMELESS, new URLSearchParams(location.search).get("room"), remembered("seat"));
  },
  onState: (state) => {
    joined &&= state.name === "open";
    page.connection.dataset.state = state.name === "open" && !joined ? "connecting" : state.name;
    say(page.connection, state.name === "open" && !joined ? "Joining …" : described(state));
    showStatus();
  },
  onFrame: receive,
});

/** @param {string} name @param {string | null} room @param {string | null} seat */
function join(name, room, seat) {
  socket.send({ type: "join", name, room, seat });
}

/** @param {number} patience In ms: what was sent later than that before now is given time. */
function resend(patience) {
  if (joined) for (const frame of outbox.due(performance.now(), patience)) socket.send(frame);
}

// --- frames ---------------------------------------------------------------------------------------------------------

/** @param {PlayFrame} frame */
function receive(frame) {
  switch (frame.type) {
    case "joined":
      joined = true;
      remember("seat", frame.seat);
      lead.obey(frame.models);
      models.clear();
      know(frame.models);
      for (const model of frame.models) models.set(model.model, model);
      showModels();
      page.connection.dataset.state = "live";
      say(page.connection, "Live");
      resend(0);
      showStatus();
      return;
    case "saved":
      kept(frame.drawing_id);
      return;
    case "guess":
      guessed(frame);
      return;
    case "missed":
      missed(frame);
      return;
    case "receipt":
      received(frame);
      return;
    case "model":
      changed(frame);
      return;
    case "room":
      say(page.room, frame.players.length > 1 ? `${frame.room}: ${frame.players.join(", ")}` : frame.room);
      return;
    case "error":
      failed(frame);
      return;
    default:
      throw new Error(`the server sent a frame that this page does not know: ${/** @type {any} */ (frame).type}`);
  }
}

/** @param {string} drawing */
function kept(drawing) {
  outbox.settle(drawing);
  for (const one of rounds) one.saved ||= one.id === drawing;
  showStatus();
}

/** @param {Guess} guess */
function guessed(guess) {
  const one = rounds.find(({ id }) => id === guess.drawing_id);
  const number = previews.get(guess.drawing_id);
  if (!one && (number === undefined || current || pad.empty || number < (answered.get(guess.model)?.number ?? 0))) return;
  const known = models.get(guess.model);
  const { model } = guess;
  const version = known && (guess.fallback || guess.role === "canary") ? known.version : guess.version;
  models.set(model, { title: model, ...known, model, version });
  if (one) {
    one.guesses.set(model, guess);
    one.missed.delete(model);
  } else {
    answered.set(model, { number: /** @type {number} */ (number), guess });
  }
  const here = one === current || !one;
  if ((here && lead.hear(guess)) || !cards.has(model)) showModels();
  else if (here) showCard(model);
  if (!one) return;
  if (one === current) {
    showAnswers();
    speakSoon(one);
  }
  if (one.label !== null) showPast();
}

/** @param {import("../lib/protocol.js").Missed} missed */
function missed(missed) {
  const one = rounds.find(({ id }) => id === missed.drawing_id);
  if (!one || one.guesses.has(missed.model)) return;
  one.missed.set(missed.model, missed);
  if (one !== current) return;
  showCard(missed.model);
  showAnswers();
  speakSoon(one);
}

/** @param {Receipt} receipt */
function received(receipt) {
  outbox.settle(receipt.correction_id);
  if (receipt.outcome === "superseded" || receipt.outcome === "refused") outbox.settle(`withdraw ${receipt.correction_id}`);
  for (const [model, { version_after: version }] of Object.entries(receipt.models)) {
    const known = models.get(model);
    if (known?.kind === "online" || known?.kind === "personal") models.set(model, { ...known, version });
  }
  const one = rounds.find(({ correction }) => correction === receipt.correction_id);
  if (!one || one.label === null) return;
  one.receipt = merged(one.receipt, receipt);
  if (one === current) showReceipt();
}

/** @param {import("../lib/protocol.js").ModelChanged} change */
function changed({ type, event, note, ...model }) {
  know([model]);
  const known = models.get(model.model);
  const name = short({ ...known, ...model }, model.model);
  const version = event === "published" ? (known?.version ?? null) : (model.version ?? known?.version ?? null);
  models.set(model.model, { ...known, ...model, version });
  if (event === "policy" && model.lead) lead.obey([model]);
  showModels();
  if (model.part && model.part !== "shown") return;
  if (event === "published") toast(`${name} ${model.version} was trained${note ? `: ${note}` : ""}`, model.model);
  if (event === "promoted") toast(`${name} ${model.version} now answers`, model.model);
  if (event === "rolled-back") toast(`${name} is back at version ${model.version}`, model.model);
}

/** @param {import("../lib/protocol.js").Failure} failure */
function failed({ code, message, drawing_id: drawing }) {
  if (!joined && !refused) {
    refused = true;
    join(NAMELESS, null, null);
  }
  if (drawing && previews.has(drawing)) return;
  if (drawing && !PASSING.has(code)) outbox.drop(drawing);
  toast(message, null);
  showStatus();
}

// --- cards ----------------------------------------------------------------------------------------------------------

/** Those who guess are others, or another one is shown first: the one card changes its place, the rest keep their order. */
function showModels() {
  const shown = [...models.values()].filter(({ part }) => part === undefined || part === "shown").map(({ model }) => model).sort(byPlace);
  for (const [model, card] of cards) {
    if (shown.includes(model)) continue;
    card.element.remove();
    cards.delete(model);
  }
  for (const model of shown) {
    if (!cards.has(model)) {
      const card = new Card(model);
      card.count(tally(rounds, model));
      cards.set(model, card);
    }
    showCard(model);
  }
  const first = lead.of(shown);
  place(page.lead, shown.filter((model) => model === first));
  place(page.cards, shown.filter((model) => model !== first));
  showAnswers();
}

/** Put cards in their place, those that are there already are left alone. @param {HTMLElement} where @param {string[]} names */
function place(where, names) {
  names.forEach((model, i) => {
    const { element } = /** @type {Card} */ (cards.get(model));
    if (where.children[i] !== element) where.insertBefore(element, where.children[i] ?? null);
  });
}

/** @param {string} model */
function showCard(model) {
  const card = cards.get(model);
  const known = models.get(model);
  if (!card || !known) return;
  const guess = current ? current.guesses.get(model) : answered.get(model)?.guess;
  card.name(known);
  card.show(standing(known, guess, current?.missed.get(model), current !== null, named), guess);
  card.judge(current?.label ?? null, current ? guess : undefined);
}

function showCards() {
  for (const model of cards.keys()) showCard(model);
}

/** @param {string} model */
function named(model) {
  return short(models.get(model), model);
}

// --- drawing --------------------------------------------------------------------------------------------------------

/** The pen touches the pad. */
function begin() {
  clearTimeout(idleTimer);
  if (!current) return;
  if (current.label === null && performance.now() - finishedAt < SECOND_THOUGHT_MS) {
    rounds.splice(rounds.indexOf(current), 1);
    leave();
  } else {
    wipe();
  }
}

function lifted() {
  previewSoon();
  clearTimeout(idleTimer);
  idleTimer = setTimeout(finish, IDLE_MS);
  showAnswers();
}

function previewSoon() {
  showPaper();
  previewTimer ??= setTimeout(preview, Math.max(0, previewAt + PREVIEW_EVERY_MS - performance.now()));
}

function preview() {
  previewTimer = undefined;
  if (current || pad.empty || !joined || socket.backlog > BACKLOG) return;
  previewAt = performance.now();
  const id = uuid();
  previews.set(id, ++previewCount);
  if (previews.size > 32) previews.delete(/** @type {string} */ (previews.keys().next().value));
  socket.send(draw(id, fitted(pad.strokes.map((stroke) => simplified(stroke, 1))), false));
}

/** The drawing is finished: it goes out under an id of its own, until the server says that it is kept. */
function finish() {
  clearTimeout(idleTimer);
  clearTimeout(previewTimer);
  previewTimer = undefined;
  if (current || pad.empty || pad.penDown) return;
  if (extent(pad.strokes) < LEAST * pad.side) {
    wipe();
    say(page.status, "Too small: draw it larger");
    return;
  }
  const id = uuid();
  const frame = draw(id, fitted(pad.strokes), true);
  tell(id, frame);
  current = round(id, pad.strokes, pad.side, asked);
  rounds.push(current);
  finishedAt = performance.now();
  previews.clear();
  answered.clear();
  showCards();
  showPaper();
  showAnswers();
  showStatus();
}

/** @param {string} id @param {import("./strokes.js").Stroke[]} strokes @param {boolean} final */
function draw(id, strokes, final) {
  return { type: "draw", drawing_id: id, strokes, width: pad.side, height: pad.side, final, asked };
}

/** An empty pad for a new drawing. */
function wipe() {
  clearTimeout(idleTimer);
  pad.clear();
  leave();
  answered.clear();
  showCards();
  showPaper();
  showAnswers();
}

/** The finished drawing is no longer the one on the pad. */
function leave() {
  clearTimeout(speakTimer);
  current = null;
  page.receipt.hidden = true;
  showStatus();
}

// --- the player's word -----------------------------------------------------------------------------------------------

/** @param {number} label */
function correct(label) {
  finish();
  if (!current || current.label === label) return;
  const first = current.label === null;
  current.label = label;
  current.correction = uuid();
  current.receipt = null;
  tell(current.correction, { type: "correct", drawing_id: current.id, correction_id: current.correction, label });
  if (first) ask();
  judged();
}

function withdraw() {
  if (!current?.correction) return;
  const { id, correction } = current;
  tell(`withdraw ${correction}`, { type: "withdraw", drawing_id: id, correction_id: correction });
  current.label = current.correction = current.receipt = null;
  judged();
}

/** @param {string} id @param {import("./outbox.js").Frame} frame */
function tell(id, frame) {
  outbox.add(id, frame);
  resend(PATIENCE_MS);
}

/** The verdict on the current drawing is another. */
function judged() {
  showCards();
  showPaper();
  showAnswers();
  showReceipt();
  showPast();
}

/** What Enter would do now: finish the drawing, or say what it most likely is. */
function confirm() {
  if (!current) {
    finish();
    return;
  }
  const likely = expected(current);
  if (current.label === null && likely !== null) correct(likely);
}

/** @param {Round} one */
function expected(one) {
  return one.asked ?? favourite(one.guesses.values());
}

function ask() {
  asked = page.free.checked ? null : nextQuestion();
  page.another.hidden = page.free.checked;
  if (asked === null) page.prompt.replaceChildren("Draw any digit");
  else page.prompt.replaceChildren("Draw a ", h("b", {}, String(asked)));
}

// --- showing ----------------------------------------------------------------------------------------------------------

function showPaper() {
  paper.dataset.state = pad.empty ? "empty" : current?.label === null || !current ? "drawing" : "answered";
}

function showAnswers() {
  const ready = !pad.empty;
  const label = current?.label ?? null;
  const likely = current ? expected(current) : null;
  const text = !current ? "Done" : label !== null ? `It is a ${label}` : likely === null || !current ? "…" : reply(likely, favourite(current.guesses.values()));
  say(/** @type {Element} */ (page.confirm.firstChild), text);
  page.confirm.disabled = !ready || (current !== null && (label !== null || likely === null));
  for (const [digit, { button, votes }] of digits.entries()) {
    button.disabled = !ready;
    button.setAttribute("aria-pressed", String(label === digit));
    const voters = [...(current?.guesses.values() ?? [])].filter((guess) => guess.label === digit && guess.model !== "everyone");
    votes.replaceChildren(...voters.map(({ model }) => model).sort(byPlace).map((model) => h("i", { ...colour(model) })));
  }
  const agreed = current ? agreement([...current.guesses.values()]) : null;
  const picked = models.size > 0 && [...models.values()].every((model) => model.lead === false);
  const told = [agreed ? `${agreed.n} of ${agreed.of} see a ${agreed.digit}` : "", picked ? "shown first: whom your labels speak for" : ""];
  say(page.agreement, told.filter(Boolean).join(" · "));
  const focused = document.activeElement;
  if (focused instanceof HTMLButtonElement && focused.disabled) canvas.focus({ preventScroll: true });
}

function showStatus() {
  if (!joined && !outbox.empty) say(page.status, "Not sent yet: it goes out when the game is back");
  else if (!current) say(page.status, "");
  else say(page.status, current.saved ? "Saved" : outbox.empty ? "Not kept" : "Sending …");
}

function showReceipt() {
  const one = current;
  page.receipt.hidden = !one || one.label === null;
  if (!one || one.label === null) return;
  const { label, receipt } = one;
  say(page.receiptTitle, `What your word, ${label}, did`);
  if (!receipt) {
    page.receiptLines.replaceChildren(h("p", { class: "quiet" }, "The models are being told …"));
    return;
  }
  const told = lines(receipt, named).map((line) => {
    const before = h("i", { class: "before" });
    const after = h("i", { class: "after" });
    const change = h("div", { class: "change", "aria-hidden": "true" }, after, before);
    change.style.setProperty("--before", String(line.before));
    change.style.setProperty("--after", String(line.after));
    const note = h("p", { class: "note quiet small" }, line.note);
    const kind = line.learned ? "line learned" : "line";
    return h("div", { class: kind, ...colour(line.model), "data-model": line.model }, h("p", {}, line.text), change, note);
  });
  const whole = receipt.outcome === "learned" ? [] : [h("p", {}, summary(receipt))];
  page.receiptLines.replaceChildren(...whole, ...told);
}

function showPast() {
  for (const [model, card] of cards) card.count(tally(rounds, model));
  const labelled = rounds.filter(({ label }) => label !== null);
  page.pastSection.hidden = labelled.length === 0;
  page.past.replaceChildren(...labelled.slice(-PAST).reverse().map(pastDrawing));
}

/** @param {Round} one */
function pastDrawing({ strokes, label, guesses }) {
  const all = [...guesses.values()].sort((a, b) => byPlace(a.model, b.model));
  const marks = all.map((guess) => h("i", { ...colour(guess.model), "data-right": guess.label === label, title: `${named(guess.model)}: ${guess.label}` }));
  const told = all.map((guess) => `${named(guess.model)} said ${guess.label}`).join(", ");
  const picture = svg("svg", { viewBox: "0 0 60 60", role: "img", "aria-label": `A ${label}; ${told}` });
  picture.append(svg("path", { d: path(strokes, 60, 8) }));
  const right = all.filter((guess) => guess.label === label).length;
  return h("li", {}, picture, h("div", { class: "marks", "aria-hidden": "true" }, ...marks), h("span", { class: "quiet", "aria-hidden": "true" }, `${right} of ${all.length}`));
}

/** Tell screen readers once, when the models have answered: what the one that is shown first says, and how many agree.
 * @param {Round} one
 */
function speakSoon(one) {
  clearTimeout(speakTimer);
  speakTimer = setTimeout(() => {
    const first = lead.of([...cards.keys()].sort(byPlace));
    const guess = first ? one.guesses.get(first) : undefined;
    const others = [...one.guesses.values()].filter(({ model }) => model !== first && model !== "everyone");
    const agree = others.filter(({ label }) => label === guess?.label).length;
    const absent = [...one.missed.keys()].sort(byPlace).map(named);
    say(page.spoken, [
      guess ? `${named(guess.model)}: ${guess.label}, ${Math.round(guess.confidence * 100)} per cent` : "",
      guess && others.length ? `${agree} of ${others.length} others agree` : "",
      absent.length ? `no answer from ${listed(absent)}` : "",
    ].filter(Boolean).join("; "));
  }, SPEAK_AFTER_MS);
}

/** @param {string} text @param {string | null} model None: something went wrong. */
function toast(text, model) {
  const close = h("button", { type: "button", "aria-label": "Dismiss" }, "✕");
  const note = h("div", { class: model ? "toast" : "toast failure", ...(model && { ...colour(model) }) }, h("p", {}, text), close);
  const gone = setTimeout(() => note.remove(), TOAST_MS);
  close.addEventListener("click", () => {
    clearTimeout(gone);
    note.remove();
  });
  page.toasts.append(note);
  if (page.toasts.childElementCount > 4) page.toasts.firstElementChild?.remove();
}

// --- controls ----------------------------------------------------------------------------------------------------------

const digits = Array.from({ length: 10 }, (_, digit) => {
  const votes = h("span", { class: "votes", "aria-hidden": "true" });
  const button = h("button", { type: "button", "aria-pressed": "false", disabled: true }, String(digit), votes);
  button.addEventListener("click", () => correct(digit));
  page.digits.append(button);
  return { button, votes };
});

page.clear.addEventListener("click", wipe);
page.confirm.addEventListener("click", confirm);
page.withdraw.addEventListener("click", withdraw);
page.another.addEventListener("click", ask);
page.free.addEventListener("change", () => {
  remember("free", page.free.checked ? "yes" : "no");
  ask();
});
page.name.addEventListener("change", () => {
  remember("name", page.name.value.trim());
  socket.renew();
});
addEventListener("keydown", (event) => {
  if (event.target === page.name || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^[0-9]$/.test(event.key) && !event.repeat) correct(Number(event.key));
  else if (event.key === "Escape" || event.key === "Backspace") wipe();
  else if (event.key === "Enter" && !event.repeat && !(event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement)) confirm();
  else return;
  event.preventDefault();
});

setInterval(() => resend(PATIENCE_MS), PATIENCE_MS / 2);
page.name.value = remembered("name") ?? "";
page.free.checked = remembered("free") === "yes";
ask();
showPaper();
showAnswers();

watchHealth();

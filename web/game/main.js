// @ts-check
/** The game's page: pad, models and socket, wired together. */

import { h, say } from "../lib/dom.js";
import { watchHealth } from "../lib/health.js";
import { Socket, described } from "../lib/socket.js";
import { forget, remember, remembered } from "../lib/store.js";
import { uuid } from "../lib/uuid.js";
import { canvas, digits, page } from "./elements.js";
import { Joining } from "./joining.js";
import { Pad } from "./pad.js";
import { PlayerCard } from "./player_card.js";
import { Receiver } from "./receive.js";
import { expected, favourite, round } from "./rounds.js";
import { State } from "./state.js";
import { extent, fitted, simplified } from "./strokes.js";
import { toast } from "./toasts.js";
import { View } from "./view.js";

/** Ink that is smaller than this share of the pad is a slip of the pen. */
const LEAST = 0.06;
/** So long after the last pen-up the drawing is finished, in ms. */
const IDLE_MS = 700;
/** A stroke this soon after that still belongs to the drawing: crossed sevens take their time. */
const SECOND_THOUGHT_MS = 1200;
const PREVIEW_EVERY_MS = 125;
/** With more than this waiting to leave, in bytes, previews would only make it worse. */
const BACKLOG = 32 * 1024;
/** What is not answered for so long, in ms, is sent again; so it is after each reconnect. */
const PATIENCE_MS = 6000;
/** After so long the page lets go of a code from another device that nobody has answered, in ms. */
const CARRY_MS = 10_000;

let finishedAt = -Infinity;
/** @type {number | undefined} */ let idleTimer;
/** @type {number | undefined} */ let previewTimer;
/** @type {number | undefined} */ let askTimer;
/** @type {number | undefined} */ let carryTimer;
let previewAt = -Infinity;
let previewCount = 0;

const state = new State();
const pad = new Pad(canvas, { onStart: begin, onMove: previewSoon, onLift: lifted });
const view = new View(state, pad);
const joining = new Joining();
const card = new PlayerCard({
  send: (frame) => state.joined && socket.send(frame),
  reset: (id) => {
    tell(id, { type: "reset", reset_id: id });
    return state.joined;
  },
  carry,
});
const receiver = new Receiver(state, view, pad, card, {
  joined,
  refused: (error) => {
    const join = joining.refused(error, player());
    if (join) socket.send(join);
  },
  question: (digit) => {
    state.next = digit;
    if (state.due || (!state.current && pad.empty)) ask();
  },
  check: (drawing) => {
    const one = state.rounds.find(({ id }) => id === drawing);
    if (one) one.check = true;
    view.showAnswers();
  },
});

const socket = new Socket("/ws/play", {
  onOpen: () => {
    socket.send(joining.opened(player()));
  },
  onState: (now) => {
    state.joined &&= now.name === "open";
    page.connection.dataset.state = now.name === "open" && !state.joined ? "connecting" : now.name;
    say(page.connection, now.name === "open" && !state.joined ? "Joining …" : described(now));
    view.showStatus();
  },
  onFrame: (frame) => receiver.receive(frame),
});

/** Who this browser's player is. @returns {import("./joining.js").Player} */
function player() {
  return { name: page.name.value.trim(), room: new URLSearchParams(location.search).get("room"), seat: remembered("seat") };
}

/** Go on as the player of a code from another device. @param {string} code */
function carry(code) {
  joining.carry(code);
  socket.renew();
  clearTimeout(carryTimer);
  carryTimer = setTimeout(() => {
    if (!joining.drop()) return;
    card.failed("Nobody has answered the code: try again in a while");
    socket.renew();
  }, CARRY_MS);
}

function joined() {
  const byCode = joining.drop();
  if (byCode) {
    state.begin();
    wipe();
    view.showPast();
    page.newcomer.hidden = true;
  }
  card.joined(byCode);
  resend(0);
}

/** @param {number} patience In ms: what was sent later than that before now is given time. */
function resend(patience) {
  if (state.joined) for (const frame of state.outbox.due(performance.now(), patience)) socket.send(frame);
}

// --- drawing --------------------------------------------------------------------------------------------------------

/** The pen touches the pad. */
function begin() {
  clearTimeout(idleTimer);
  clearTimeout(askTimer);
  if (!state.current) return;
  if (state.current.label === null && performance.now() - finishedAt < SECOND_THOUGHT_MS) {
    state.rounds.splice(state.rounds.indexOf(state.current), 1);
    leave();
  } else {
    wipe();
    ask();
  }
}

function lifted() {
  previewSoon();
  clearTimeout(idleTimer);
  idleTimer = setTimeout(finish, IDLE_MS);
  view.showAnswers();
}

function previewSoon() {
  view.showPaper();
  previewTimer ??= setTimeout(preview, Math.max(0, previewAt + PREVIEW_EVERY_MS - performance.now()));
}

function preview() {
  previewTimer = undefined;
  if (state.current || pad.empty || !state.joined || socket.backlog > BACKLOG) return;
  previewAt = performance.now();
  const id = uuid();
  state.previews.set(id, ++previewCount);
  if (state.previews.size > 32) state.previews.delete(/** @type {string} */ (state.previews.keys().next().value));
  socket.send(draw(id, fitted(pad.strokes.map((stroke) => simplified(stroke, 1))), false));
}

/** The drawing is finished: it goes out under an id of its own, until the server says that it is kept. */
function finish() {
  clearTimeout(idleTimer);
  clearTimeout(previewTimer);
  previewTimer = undefined;
  if (state.current || pad.empty || pad.penDown) return;
  if (extent(pad.strokes) < LEAST * pad.side) {
    wipe();
    say(page.status, "Too small: draw it larger");
    return;
  }
  const id = uuid();
  const frame = draw(id, fitted(pad.strokes), true);
  tell(id, frame);
  state.current = round(id, pad.strokes, pad.side, state.asked);
  state.rounds.push(state.current);
  finishedAt = performance.now();
  if (state.asked === state.next) state.next = null; // the server asks for another one now
  clearTimeout(askTimer);
  askTimer = setTimeout(ask, SECOND_THOUGHT_MS);
  state.previews.clear();
  state.answered.clear();
  view.showCards();
  view.showPaper();
  view.showAnswers();
  view.showStatus();
}

/** @param {string} id @param {import("./strokes.js").Stroke[]} strokes @param {boolean} final */
function draw(id, strokes, final) {
  return { type: "draw", drawing_id: id, strokes, width: pad.side, height: pad.side, final, asked: state.asked, device: pad.device };
}

/** An empty pad for a new drawing. */
function wipe() {
  clearTimeout(idleTimer);
  pad.clear();
  leave();
  state.answered.clear();
  view.showCards();
  view.showPaper();
  view.showAnswers();
}

/** The finished drawing is no longer the one on the pad. */
function leave() {
  state.current = null;
  view.leave();
}

// --- corrections ----------------------------------------------------------------------------------------------------

/** @param {number} label */
function correct(label) {
  finish();
  if (!state.current || state.current.label === label) return;
  const first = state.current.label === null;
  state.current.label = label;
  state.current.correction = uuid();
  state.current.receipt = null;
  tell(state.current.correction, { type: "correct", drawing_id: state.current.id, correction_id: state.current.correction, label });
  if (first) ask();
  labelled();
}

function withdraw() {
  if (!state.current?.correction) return;
  const { id, correction } = state.current;
  tell(`withdraw ${correction}`, { type: "withdraw", drawing_id: id, correction_id: correction });
  state.current.label = state.current.correction = state.current.receipt = null;
  labelled();
}

/** @param {string} id @param {import("./outbox.js").Frame} frame */
function tell(id, frame) {
  state.outbox.add(id, frame);
  resend(PATIENCE_MS);
}

/** The label of the current drawing has changed. */
function labelled() {
  page.newcomer.hidden = true;
  view.showCards();
  view.showPaper();
  view.showAnswers();
  view.showReceipt();
  view.showPast();
}

/** What Enter would do now: finish the drawing, or say what it most likely is. */
function confirm() {
  if (!state.current) {
    finish();
    return;
  }
  const likely = expected(state.current);
  if (state.current.label === null && likely !== null) correct(likely);
}

/** Show what to draw next, as soon as the server has asked for it. */
function ask() {
  clearTimeout(askTimer);
  page.another.hidden = page.free.checked;
  state.due = !page.free.checked && state.next === null;
  if (state.due) return;
  state.asked = page.free.checked ? null : state.next;
  if (state.asked === null) page.prompt.replaceChildren("Draw any digit");
  else page.prompt.replaceChildren("Draw a ", h("b", {}, String(state.asked)));
}

// --- controls -------------------------------------------------------------------------------------------------------

for (const [digit, { button }] of digits.entries()) button.addEventListener("click", () => correct(digit));
page.clear.addEventListener("click", wipe);
page.confirm.addEventListener("click", confirm);
page.withdraw.addEventListener("click", withdraw);
page.another.addEventListener("click", () => {
  state.due = socket.send({ type: "another" }) || state.due;
});
page.checkYes.addEventListener("click", () => {
  const seen = state.current && favourite(state.current.guesses.values());
  if (typeof seen === "number") correct(seen);
});
page.checkLater.addEventListener("click", () => {
  if (state.current) state.current.check = false;
  view.showAnswers();
});
page.free.addEventListener("change", () => {
  remember("free", page.free.checked ? "yes" : "no");
  ask();
});
page.name.addEventListener("change", () => {
  remember("name", page.name.value.trim());
  socket.renew();
});
addEventListener("keydown", (event) => {
  if (card.open || event.target === page.name || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^[0-9]$/.test(event.key) && !event.repeat) correct(Number(event.key));
  else if (event.key === "Escape" || event.key === "Backspace") wipe();
  else if (event.key === "Enter" && !event.repeat && !(event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement)) confirm();
  else return;
  event.preventDefault();
});

setInterval(() => resend(PATIENCE_MS), PATIENCE_MS / 2);
page.name.value = remembered("name") ?? "";
page.free.checked = remembered("free") === "yes";
page.newcomer.hidden = remembered("seat") !== null;
page.prompt.replaceChildren("Draw any digit");
ask();
view.showPaper();
view.showAnswers();
if (remembered("gone")) {
  forget("gone");
  toast("You are forgotten: nobody can play as you any more, and what was yours is being cut out of every store.", null, false);
}

watchHealth();

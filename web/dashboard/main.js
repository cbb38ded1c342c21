// @ts-check
/** The dashboard's page: a snapshot, then changes, drawn at most once a frame. */

import { h, say, the } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { watchHealth } from "../lib/health.js";
import { byPlace, colour, know, short } from "../lib/models.js";
import { Socket, described } from "../lib/socket.js";
import { poll } from "../lib/poll.js";
import { Chart } from "./chart.js";
import { trailing } from "./counts.js";
import { note, overTime } from "./honest.js";
import { changeText } from "./change_text.js";
import { driftLines } from "./drift.js";
import { confusion, digits, latency, tile, versions } from "./tables.js";
import { triggerText, waiting } from "./queue.js";
import { Job } from "./training.js";

/**
 * @typedef {import("../lib/protocol.js").Honest} Honest
 * @typedef {import("../lib/protocol.js").Model} Model
 * @typedef {import("../lib/protocol.js").Score} Score
 * @typedef {import("../lib/protocol.js").Training} Training
 * @typedef {import("../lib/protocol.js").WatchFrame} WatchFrame
 */

const CHANGES = 8;

const page = {
  changes: the("changes", HTMLElement),
  chooser: the("chooser", HTMLElement),
  confusion: the("confusion", HTMLElement),
  connection: the("connection", HTMLElement),
  digits: the("digits", HTMLElement),
  drift: the("drift", HTMLElement),
  drawings: the("drawings", HTMLElement),
  labelled: the("labelled", HTMLElement),
  how: the("how", HTMLElement),
  howNote: the("how-note", HTMLElement),
  latency: the("latency", HTMLElement),
  online: the("online", HTMLElement),
  queue: the("queue", HTMLElement),
  tiles: the("tiles", HTMLElement),
  timeNote: the("time-note", HTMLElement),
  training: the("training", HTMLElement),
  versions: the("versions", HTMLElement),
  while: the("while", HTMLSelectElement),
  whileLabel: the("while-label", HTMLElement),
};
const chart = new Chart(the("chart", HTMLElement));

/** @type {Map<string, Model>} */ const models = new Map();
/** @type {Map<string, Score>} */ const scores = new Map();
/** @type {Map<string, Honest>} */ const estimates = new Map();
/** @type {Map<string, Job>} */ const jobs = new Map();
/** @type {import("./queue.js").QueuedJob[]} */ let queue = [];
/** @type {string | null} */ let chosen = null;
/** @type {import("./tables.js").How} */ let how = "labels";
let frame = 0;

new Socket("/ws/watch", {
  onOpen: () => {},
  onState: (state) => {
    page.connection.dataset.state = state.name === "open" ? "live" : state.name;
    say(page.connection, described(state));
  },
  onFrame: receive,
});

/** @param {WatchFrame} frame */
function receive(frame) {
  switch (frame.type) {
    case "snapshot":
      models.clear();
      scores.clear();
      know(frame.models);
      for (const model of frame.models) models.set(model.model, model);
      for (const [model, score] of Object.entries(frame.scores)) scores.set(model, score);
      estimates.clear();
      for (const [model, honest] of Object.entries(frame.honest)) estimates.set(model, honest);
      for (const [model, training] of Object.entries(frame.training)) trained(model, training, []);
      counted(frame.online, frame.drawings);
      showTraining();
      break;
    case "scores":
      for (const [model, score] of Object.entries(frame.scores)) scores.set(model, score);
      break;
    case "honest":
      for (const [model, honest] of Object.entries(frame.honest)) estimates.set(model, honest);
      break;
    case "model":
      changed(frame);
      break;
    case "training":
      trained(frame.model, frame, frame.log ?? []);
      showTraining();
      return;
    case "online":
      counted(frame.online, frame.drawings);
      return;
    default:
      throw new Error(`the server sent a frame that this page does not know: ${/** @type {any} */ (frame).type}`);
  }
  showSoon();
}

/** @param {number} online @param {number} drawings */
function counted(online, drawings) {
  say(page.online, count(online));
  say(page.drawings, count(drawings));
}

/** @param {import("../lib/protocol.js").ModelChanged} change */
function changed({ type, event, note, ...model }) {
  know([model]);
  const before = models.get(model.model);
  const version = event === "published" ? (before?.version ?? null) : model.version;
  models.set(model.model, { ...before, ...model, version });
  const told = changeText({ type, event, note, ...model }, short({ ...before, ...model }, model.model));
  if (!told) return;
  const time = h("time", {}, new Date().toLocaleTimeString([], { hourCycle: "h23", hour: "2-digit", minute: "2-digit" }));
  page.changes.querySelector(".quiet")?.remove();
  page.changes.prepend(h("li", { class: "dot", ...colour(model.model) }, time, told));
  if (page.changes.childElementCount > CHANGES) page.changes.lastElementChild?.remove();
}

/** @param {string} model @param {Training} training @param {string[]} log */
function trained(model, training, log) {
  let job = jobs.get(model);
  if (!job) {
    job = new Job(model);
    jobs.set(model, job);
  }
  job.show(short(models.get(model), model), training, log);
}

function showTraining() {
  page.queue.hidden = queue.length === 0;
  page.queue.replaceChildren(
    ...queue.map((job) => h("li", { class: "dot", ...colour(job.model) }, h("b", {}, short(models.get(job.model), job.model)), ` waits, ${triggerText(job)}`)),
  );
  if (jobs.size === 0) page.training.replaceChildren(h("p", { class: "quiet small" }, "Nothing is being rebuilt. An operator starts it with: gamenight retrain MODEL"));
  else if (page.training.childElementCount !== jobs.size || page.training.querySelector("p.quiet:only-child")) {
    page.training.replaceChildren(...[...jobs.values()].map(({ element }) => element));
  }
}

function showSoon() {
  frame ||= requestAnimationFrame(show);
}

function show() {
  frame = 0;
  const scored = [...models.values()].sort((a, b) => byPlace(a.model, b.model)).map((model) => ({ model, score: scores.get(model.model) ?? none(), honest: estimates.get(model.model) }));
  say(page.labelled, count(Math.max(0, ...scored.map(({ score }) => score.n))));
  page.tiles.replaceChildren(...scored.map((one) => tile(one, how)));
  const whileS = Number(page.while.value);
  chart.show(scored.map(({ model, score, honest }) => ({ model: model.model, title: short(model, model.model), samples: how === "labels" ? trailing(score.recent, whileS) : overTime(honest) })));
  page.whileLabel.hidden = how === "picks";
  say(page.howNote, note(how, [...estimates.values()]));
  say(page.timeNote, how === "labels" ? "Lines: share of labelled drawings guessed right; bands: 95 % Wilson intervals." : "Lines: estimates by drawings that chance picked, each of a quarter of an hour; bands: 95 % confidence sequences.");
  page.digits.replaceChildren(...digits(scored, how));
  page.versions.replaceChildren(...versions(scored, how));
  page.latency.replaceChildren(...latency(scored));
  showChooser();
  const one = scored.find(({ model }) => model.model === chosen);
  if (one) page.confusion.replaceChildren(...confusion(one, how));
}

/** The models to choose from; rebuilt only when they change, so that the keyboard's focus stays. */
function showChooser() {
  const names = [...models.keys()].sort(byPlace);
  if (chosen === null || !models.has(chosen)) chosen = names[0] ?? null;
  if (page.chooser.dataset.models === names.join()) return;
  page.chooser.dataset.models = names.join();
  page.chooser.replaceChildren(...names.map((model) => {
    const radio = h("input", { type: "radio", name: "model", value: model, checked: model === chosen });
    radio.addEventListener("change", () => {
      chosen = model;
      showSoon();
    });
    return h("label", { ...colour(model) }, radio, short(models.get(model), model));
  }));
}

/** @returns {Score} */
function none() {
  return { n: 0, correct: 0, confusion: new Array(100).fill(0), latency: new Array(12).fill(0), versions: {}, recent: [] };
}

page.while.addEventListener("change", showSoon);
for (const radio of page.how.querySelectorAll("input")) {
  radio.addEventListener("change", () => {
    how = radio.value === "picks" ? "picks" : "labels";
    showSoon();
  });
}

poll("/api/drift", the("drift-state", HTMLElement), (/** @type {import("./drift.js").DriftState} */ state) => {
  page.drift.replaceChildren(...driftLines(state));
}, { listens: false });
poll("/api/jobs?limit=50", the("queue-state", HTMLElement), (/** @type {import("./queue.js").QueuedJob[]} */ answer) => {
  queue = waiting(answer);
  showTraining();
}, { listens: false });
watchHealth();

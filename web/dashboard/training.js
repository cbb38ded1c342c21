// @ts-check
/** How far the rebuilds are: steps, progress and the training job's own log, line by line. */

import { h, say } from "../lib/dom.js";
import { colour } from "../lib/models.js";
import { triedRows } from "./queue.js";

/** @typedef {import("../lib/protocol.js").Training} Training */

const STEPS = ["queued", "archive", "dataset", "training", "evaluation", "gate", "endpoint", "done"];
const BAD = ["refused", "failed", "cancelled"];
const LOG_LINES = 300;

/** @param {import("../lib/protocol.js").Tried[]} tried */
function triedTable(tried) {
  const head = h("thead", {}, h("tr", {}, ...["settings", "state", "right", "seconds", "on AWS"].map((each) => h("th", { scope: "col" }, each))));
  const rows = triedRows(tried).map(({ kept, cells }) => h("tr", { "data-kept": kept }, ...cells.map((each) => h("td", {}, each))));
  return h("table", { class: "tried small" }, h("caption", {}, "Settings that are tried, and how often each is right on drawings kept aside for that"), head, h("tbody", {}, ...rows));
}

export class Job {
  #version = "";
  #step = "";
  #name = h("b");
  #message = h("span", { class: "quiet small" });
  #steps = h("ol", { class: "steps" });
  #progress = h("progress", { max: 1 });
  #tried = h("div", { class: "scroll", hidden: true });
  #log = h("pre", { class: "log", tabindex: 0, role: "log", "aria-label": "log of the training job", hidden: true });
  /** @type {string[]} */ #lines = [];
  element;

  /** @param {string} model */
  constructor(model) {
    const head = h("p", {}, this.#name, this.#message);
    this.element = h("div", { class: "job", ...colour(model), "data-model": model }, head, this.#steps, this.#progress, this.#tried, this.#log);
  }

  /** @param {string} title @param {Training} training @param {string[]} log New lines. */
  show(title, { version, step, fraction, message, tried }, log) {
    if (version !== this.#version) this.#lines = [];
    const named = version === "none" ? title : `${title} ${version}`; // it was cancelled before it was begun
    say(this.#name, named);
    say(this.#message, message);
    this.#progress.value = fraction;
    this.#progress.setAttribute("aria-label", `${named}: ${step}`);
    this.element.dataset.step = step;
    if (step !== this.#step || version !== this.#version) {
      const now = STEPS.indexOf(step);
      const steps = STEPS.slice(0, -1).map((each, i) => h("li", { "data-state": i < now ? "past" : i === now ? "now" : "to come" }, each));
      if (BAD.includes(step)) steps.push(h("li", { "data-state": "bad" }, step));
      else steps.push(h("li", { "data-state": step === "done" ? "now" : "to come" }, "done"));
      this.#steps.replaceChildren(...steps);
    }
    [this.#version, this.#step] = [version, step];
    this.#tried.hidden = !tried?.length;
    this.#tried.replaceChildren(...(tried?.length ? [triedTable(tried)] : []));
    this.#write(log);
  }

  /** @param {string[]} log */
  #write(log) {
    this.#lines = [...this.#lines, ...log].slice(-LOG_LINES);
    this.#log.hidden = this.#lines.length === 0;
    const atEnd = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 24;
    say(this.#log, this.#lines.join("\n"));
    if (atEnd) this.#log.scrollTop = this.#log.scrollHeight;
  }
}

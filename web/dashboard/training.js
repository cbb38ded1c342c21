// @ts-check
/** How far the rebuilds are: steps, progress and the training job's own log, line by line. */

import { h, say } from "../lib/dom.js";
import { colour } from "../lib/models.js";

/** @typedef {import("../lib/protocol.js").Training} Training */

const STEPS = ["queued", "archive", "dataset", "training", "evaluation", "gate", "endpoint", "done"];
const BAD = ["refused", "failed", "cancelled"];
const LOG_LINES = 300;

export class Job {
  #version = "";
  #step = "";
  #name = h("b");
  #message = h("span", { class: "quiet small" });
  #steps = h("ol", { class: "steps" });
  #progress = h("progress", { max: 1 });
  #log = h("pre", { class: "log", tabindex: 0, role: "log", "aria-label": "log of the training job", hidden: true });
  /** @type {string[]} */ #lines = [];
  element;

  /** @param {string} model */
  constructor(model) {
    const head = h("p", {}, this.#name, this.#message);
    this.element = h("div", { class: "job", ...colour(model), "data-model": model }, head, this.#steps, this.#progress, this.#log);
  }

  /** @param {string} title @param {Training} training @param {string[]} log New lines. */
  show(title, { version, step, fraction, message }, log) {
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

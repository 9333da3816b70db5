// What is wrong, in one line of words: the first thing that a person who was
// paged looks for. Each leads to the streams it is about.
import { $, make, say } from "./dom.js";
import { count, number } from "./format.js";

const sum = (points, of) => points.reduce((n, p) => n + of(p), 0);

// problems are {key, tone, text, view}: key tells one from the other over time.
export function problems(summary, points, lost) {
  const all = [];
  if (lost) all.push({ key: "lost", tone: "bad", text: `No news since ${lost}: this page is out of date` });
  if (!summary) return all;
  if (!summary.ready) all.push({ key: "ready", tone: "bad", text: `Gets no new streams: ${summary.reason}` });
  const ejected = summary.targets.filter((t) => t.state !== "closed");
  if (ejected.length) {
    const names = [...new Set(ejected.map((t) => t.address))];
    all.push({
      key: "hosts", tone: "bad", view: { q: names.length === 1 ? names[0] : "", state: "all" },
      text: `${count(names.length, "host is", "hosts are")} out of use: ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""}`,
    });
  }
  const bad = sum(points, (p) => p.bad);
  if (bad) all.push({ key: "bad", tone: "bad", view: { state: "bad", sort: "-ended" }, text: `${count(bad, "stream", "streams")} ended cut or with a gap in 15 min` });
  const resuming = summary.states.resuming || 0;
  if (resuming) all.push({ key: "resuming", tone: "warn", view: { state: "resuming", sort: "last_byte" }, text: `${count(resuming, "stream is", "streams are")} being resumed now` });
  const ill = sum(points.slice(-60), (p) => p.unresumed); // five minutes
  if (ill) all.push({ key: "ill", tone: "warn", view: { state: "all", sort: "-resumes" }, text: `${count(ill, "resume", "resumes")} failed in 5 min` });
  const copied = summary.states.copied || 0;
  if (copied) all.push({ key: "copied", tone: "bad", view: { state: "copied" }, text: `${count(copied, "stream is", "streams are")} only copied, after a fault of ours` });
  if (summary.hidden) all.push({ key: "hidden", tone: "warn", text: `${number(summary.hidden)} more streams run than can be sorted and searched here` });
  if (!all.length) all.push({ key: "well", tone: "good", text: points.length ? "Nothing is wrong: no bad end and no failed resume lately, every host is in use" : "Nothing is known to be wrong" });
  return all;
}

let shown = "";

export function showProblems(all, go) {
  const keys = all.map((p) => p.key).join(" ");
  const list = $("verdict");
  if (keys !== shown) {
    shown = keys;
    list.replaceChildren(...all.map((p) => make("li", {}, p.view
      ? make("button", { type: "button", class: p.tone, onclick: () => go(p.view) })
      : make("p", { class: p.tone }))));
    say($("announce"), all.map((p) => p.text).join(". "));
  }
  all.forEach((p, i) => say(list.children[i].firstChild, p.text));
}

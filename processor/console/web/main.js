// The live console: one event stream tells everything, and each of its messages
// says only what is new.
import { $, dress, make, say } from "./dom.js";
import { clock, count, number } from "./format.js";
import { Detail } from "./detail.js";
import { showHosts } from "./hosts.js";
import { plots } from "./plot.js";
import { sorts, Table } from "./table.js";
import { problems, showProblems } from "./verdict.js";

const pageSize = 50;
const fresh = { q: "", state: "live", policy: "", mode: "", sort: "started", page: 0, stream: "" };

let view = { ...fresh };
let source = null, lost = "", paused = false;
let summary = null, points = [], drawn = null, historyLength = 180;
let matched = 0, skew = 0, changedSince = false;

const now = () => Date.now() + skew; // by the server's clock

const table = new Table({
  onSort: (sort) => go({ sort }),
  onOpen: (id) => go({ stream: id }, true),
});
const detail = new Detail({
  onClose: () => { go({ stream: "" }); table.back(); },
});

// --- the view, which is in the address as well, to be sent to somebody

function readAddress() {
  const p = new URLSearchParams(location.hash.slice(1));
  const v = { ...fresh };
  for (const name of Object.keys(fresh)) if (p.has(name)) v[name] = p.get(name);
  v.page = Math.max(0, Number.parseInt(v.page, 10) || 0);
  if (![...$("state").options].some((o) => o.value === v.state) && v.state !== "copied") v.state = fresh.state;
  if (!sorts.has(v.sort.replace(/^-/, ""))) v.sort = fresh.sort;
  if (!/^[0-9a-f]{16}$/.test(v.stream)) v.stream = "";
  return v;
}

function go(change, byHand = false) {
  const before = view;
  view = { ...view, ...change };
  if (!("page" in change) && ["q", "state", "policy", "mode", "sort"].some((k) => view[k] !== before[k])) view.page = 0;
  const p = new URLSearchParams();
  for (const [name, value] of Object.entries(view)) if (value !== fresh[name]) p.set(name, value);
  history.replaceState(null, "", p.size ? `#${p}` : location.pathname);
  show(before, byHand);
}

function show(before, byHand) {
  if ($("q").value !== view.q) $("q").value = view.q;
  for (const id of ["state", "policy", "mode"]) {
    if (![...$(id).options].some((o) => o.value === view[id])) $(id).append(make("option", { value: view[id], text: view[id] }));
    $(id).value = view[id];
  }
  $("clear").hidden = !["q", "state", "policy", "mode"].some((k) => view[k] !== fresh[k]);
  table.sorted(view.sort);
  if (!before || query(view) !== query(before)) connect();
  if (view.stream && view.stream !== detail.id) detail.open(view.stream, byHand);
  if (!view.stream) detail.close();
  table.choose(view.stream);
}

function query(v) {
  const p = new URLSearchParams({ with: "summary", limit: pageSize, offset: v.page * pageSize, sort: v.sort });
  if (v.q) p.set("q", v.q);
  if (v.policy) p.set("policy", v.policy);
  if (v.mode) p.set("mode", v.mode);
  p.set("state", v.state === "bad" ? "ended" : v.state);
  if (v.state === "bad") p.set("outcome", "bad");
  return p.toString();
}

// --- the event stream

function connect() {
  source?.close();
  if (paused) return;
  const mine = new EventSource(`/api/v1/streams/watch?${query(view)}`);
  source = mine;
  const on = (name, f) => mine.addEventListener(name, (e) => {
    if (source !== mine) return;
    lost = "";
    say($("link"), "live");
    dress($("link"), "link");
    const m = JSON.parse(e.data);
    if (m.time) skew = Date.parse(m.time) - Date.now();
    f(m);
  });
  on("snapshot", (m) => {
    points = [];
    table.show(m.streams, now());
    counted(m);
    table.choose(view.stream);
  });
  on("changes", (m) => {
    table.change(m, now());
    counted(m);
    changedSince ||= m.changed.some((s) => s.id === detail.id);
  });
  on("summary", (m) => {
    summary = m;
    const pill = $("ready");
    say(pill, m.ready ? "ready" : "not ready");
    dress(pill, `pill ${m.ready ? "good" : "bad"}`);
    offer($("policy"), m.policies);
    showHosts(m.targets, now(), findHost);
    judge();
  });
  on("history", (m) => {
    historyLength = m.length;
    points = [...points, ...m.points].slice(-m.length);
    if (!drawn) {
      drawn = plots(m.step);
      $("plots").append(...drawn.map((p) => p.element));
    }
    for (const p of drawn) p.draw(points, historyLength);
    judge();
  });
  mine.onerror = () => {
    if (source !== mine) return;
    lost ||= clock(now());
    say($("link"), `no connection since ${lost}`);
    dress($("link"), "link lost");
    judge();
    // The browser tries again by itself unless it was refused.
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => source === mine && connect(), 3000);
  };
}

function offer(select, names) {
  const known = new Set([...select.options].map((o) => o.value));
  for (const name of names) if (!known.has(name)) select.append(make("option", { value: name, text: name }));
}

function counted(m) {
  matched = m.matched ?? m.total;
  const pages = Math.max(1, Math.ceil(matched / pageSize));
  if (view.page >= pages && matched > 0) {
    go({ page: pages - 1 });
    return;
  }
  say($("matched"), `${number(matched)}${matched === m.total ? "" : ` shown, ${number(m.total)} running`}`);
  say($("page"), matched ? `${number(view.page * pageSize + 1)}–${number(Math.min((view.page + 1) * pageSize, matched))} of ${number(matched)}` : "");
  $("previous").disabled = view.page === 0;
  $("next").disabled = view.page >= pages - 1;
  $("empty").hidden = matched > 0;
  $("table").hidden = matched === 0;
  say($("empty"), $("clear").hidden ? "No stream runs. They appear here by themselves." : "No stream is like that.");
}

const findHost = (address) => go({ q: address, state: "all", policy: "", mode: "" });

const judge = () => showProblems(problems(summary, points, lost), (v) => go({ ...fresh, ...v, stream: view.stream }));

// --- what changes by itself

setInterval(() => {
  if (paused || document.hidden) return;
  table.tick(now());
  if (summary) showHosts(summary.targets, now(), findHost);
  if (detail.id && changedSince) {
    changedSince = false;
    detail.renew(now());
  }
}, 1000);

// --- hands

let typing = 0;
$("q").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => go({ q: $("q").value.trim() }), 200);
});
$("filter").addEventListener("submit", (e) => e.preventDefault());
$("state").addEventListener("change", (e) => {
  const state = e.target.value, ended = state === "ended" || state === "bad";
  const sort = ended ? "-ended" : view.sort === "-ended" ? fresh.sort : view.sort;
  go({ state, sort });
});
$("policy").addEventListener("change", (e) => go({ policy: e.target.value }));
$("mode").addEventListener("change", (e) => go({ mode: e.target.value }));
$("clear").addEventListener("click", () => { go({ ...fresh, stream: view.stream }); $("q").focus(); });
$("previous").addEventListener("click", () => turn(-1));
$("next").addEventListener("click", () => turn(1));
$("keys").addEventListener("click", () => $("help").showModal());
$("pause").addEventListener("click", pause);

function turn(n) {
  const page = view.page + n;
  if (page >= 0 && page * pageSize < matched) go({ page });
}

function pause() {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  say($("pause"), paused ? "Go on" : "Pause");
  if (paused) {
    source?.close();
    source = null;
    say($("link"), `paused at ${clock(now())}`);
  } else connect();
}

const themes = ["", "light", "dark"];
function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  say($("theme"), { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" }[name]);
}
$("theme").addEventListener("click", () => {
  const next = themes[(themes.indexOf(localStorage.getItem("theme") || "") + 1) % themes.length];
  localStorage.setItem("theme", next);
  theme(next);
});
const kept = localStorage.getItem("theme") || "";
theme(themes.includes(kept) ? kept : "");

document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || $("help").open) return;
  const field = e.target.closest("input, select, textarea");
  if (e.key === "Escape") {
    if (field) field.blur();
    else if (detail.id) detail.close();
    else if (!$("clear").hidden) $("clear").click();
    return;
  }
  if (field) return;
  const press = {
    "/": () => $("q").focus(), "?": () => $("help").showModal(),
    j: () => table.step(1), ArrowDown: () => table.step(1), k: () => table.step(-1), ArrowUp: () => table.step(-1),
    n: () => turn(1), p: () => turn(-1),
  }[e.key];
  const arrow = e.key.startsWith("Arrow");
  if (press && (!arrow || e.target.closest("#rows"))) {
    e.preventDefault();
    press();
  } else if (e.key === " " && !e.target.closest("button, summary, a")) {
    e.preventDefault();
    pause();
  }
});
addEventListener("hashchange", () => { const before = view; view = readAddress(); show(before, false); });

view = readAddress();
show(null, false);

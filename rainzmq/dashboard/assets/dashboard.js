// Connects a page to its Bokeh session: figures are embedded, fragments of HTML are brought up to date by
// changing only what differs, and what is chosen (the query of the URL, the theme) is told to the server.
"use strict";

const told = JSON.parse(document.getElementById("document").textContent);
const root = document.documentElement;
let control = null;

// Fragments.

function sameKind(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;
}

function morph(old, fresh) {
  const wanted = [...fresh.childNodes];
  let at = old.firstChild;
  for (const node of wanted) {
    if (at !== null && sameKind(at, node)) {
      update(at, node);
      at = at.nextSibling;
    } else {
      old.insertBefore(node, at);
      if (at !== null) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
    }
  }
  while (at !== null) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function update(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, fresh);
  if (old === document.activeElement) return;
  if (old.nodeName === "INPUT" && old.value !== fresh.value) old.value = fresh.value;
  if (old.nodeName === "SELECT") {
    const chosen = [...old.options].findIndex((option) => option.hasAttribute("selected"));
    old.selectedIndex = Math.max(0, chosen);
  }
}

function show(place, html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  morph(place, holder.content);
}

// Fragments come one by one; they are shown together, once the last of an update is there.
function connectFragments(doc) {
  const fresh = new Map();
  for (const place of document.querySelectorAll("[data-fragment]")) {
    const model = doc.get_model_by_name(`fragment:${place.dataset.fragment}`);
    if (model === null) continue;
    model.properties.html.change.connect(() => fresh.set(place, model));
    show(place, model.html);
    shown(place);
  }
  doc.get_model_by_name("shown").properties.number.change.connect(() => {
    const changed = [...fresh];
    fresh.clear();
    for (const [place, model] of changed) {
      show(place, model.html);
      if (place.id === "clock") clockShown();
      shown(place);
    }
  });
}

// The server that the dashboard looks at is gone: all values are marked.
function shown(place) {
  if (place.dataset.fragment === "status") {
    root.dataset.server = place.querySelector(".pill.bad") === null ? "there" : "gone";
  }
  markScroll();
}

// Boxes that have more to the right say so by a fading edge.
let marking = null;

function markScroll() {
  marking ??= requestAnimationFrame(markNow);
}

function markNow() {
  marking = null;
  for (const box of document.querySelectorAll(".scroll, .bar nav, .plot")) {
    const rest = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.classList.toggle("more-right", rest > 2);
    box.classList.toggle("more-left", box.scrollLeft > 2);
  }
}

addEventListener("resize", markScroll);
document.addEventListener("scroll", markScroll, { capture: true, passive: true });

function showActiveTab() {
  const nav = document.querySelector(".bar nav");
  const active = nav.querySelector("[aria-current]");
  if (active === null) return;
  const [outer, inner] = [nav.getBoundingClientRect(), active.getBoundingClientRect()];
  nav.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
}

// What few nodes depend on stands in the middle of a high graph.
function showMiddle() {
  const graph = document.getElementById("figure-graph");
  if (graph !== null) graph.scrollTop = (graph.scrollHeight - graph.clientHeight) / 2;
}

// The query: what is shown.

function setQuery(text, replace = false) {
  const query = text.startsWith("?") ? text : `?${text}`;
  const url = query === "?" ? location.pathname : query;
  if (query !== location.search) history[replace ? "replaceState" : "pushState"](null, "", url);
  tellQuery();
}

function tellQuery() {
  if (control !== null && control.query !== location.search) control.query = location.search;
}

function changed(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value === "") query.delete(name);
    else query.set(name, value);
  }
  return `?${query}`;
}

function goTo(hash) {
  if (!hash) return;
  const place = document.getElementById(hash.slice(1));
  if (place !== null) {
    place.scrollIntoView({ block: "start" });
    place.focus({ preventScroll: true });
  }
}

// Links to other pages keep the time that the slider has now.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (link === null || slider === null || link.origin !== location.origin) return;
  const url = new URL(link.href);
  if (shownTime() === "") url.searchParams.delete("t");
  else url.searchParams.set("t", shownTime());
  if (url.href !== link.href) link.href = url.href;
}, true);

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-live]");
  if (link === null || control === null || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const url = new URL(link.href);
  setQuery(url.search);
  goTo(url.hash);
});

document.addEventListener("keydown", (event) => {
  if (event.key === " " && event.target.matches("a[role=button]")) {
    event.preventDefault();
    event.target.click();
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-live]")) {
    setQuery(changed({ [event.target.name]: event.target.value, after: "" }));
  } else if (event.target.matches("form[data-live] select")) {
    event.target.form.requestSubmit();
  }
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-live]")) return;
  event.preventDefault();
  setQuery(changed({ ...Object.fromEntries(new FormData(event.target)), after: "" }));
});

addEventListener("popstate", () => {
  tellQuery();
  placeSlider();
});

// Time of a replay.

const slider = document.getElementById("time");
const play = document.getElementById("play");
const PLAY_S = 40;
const STEP_MS = 250;
let waiting = null;
let later = false;
let playing = null;

function shownTime() {
  const first = Number(slider.dataset.first);
  return Number(slider.value) >= Number(slider.max) ? "" : (first + Number(slider.value)).toFixed(3);
}

function placeSlider() {
  if (slider === null) return;
  const text = new URLSearchParams(location.search).get("t");
  const time = text === null ? Number(slider.dataset.now) : Number(text);
  slider.value = time - Number(slider.dataset.first);
}

function sendTime() {
  if (waiting !== null) {
    later = true;
    return;
  }
  later = false;
  if (changed({ t: shownTime() }) === (location.search || "?")) return;
  waiting = setTimeout(clockShown, 2000);
  setQuery(changed({ t: shownTime() }), true);
}

function clockShown() {
  clearTimeout(waiting);
  waiting = null;
  if (slider === null) return;
  slider.setAttribute("aria-valuetext", document.getElementById("clock").textContent.trim());
  if (later) sendTime();
}

function stop() {
  clearInterval(playing);
  playing = null;
  play.setAttribute("aria-pressed", "false");
  play.setAttribute("aria-label", "Play");
}

function start() {
  if (Number(slider.value) >= Number(slider.max)) slider.value = 0;
  play.setAttribute("aria-pressed", "true");
  play.setAttribute("aria-label", "Pause");
  playing = setInterval(() => {
    slider.value = Number(slider.value) + (Number(slider.max) * STEP_MS) / (1000 * PLAY_S);
    sendTime();
    if (Number(slider.value) >= Number(slider.max)) stop();
  }, STEP_MS);
}

if (slider !== null) {
  slider.addEventListener("input", sendTime);
  play.addEventListener("click", () => (playing === null ? start() : stop()));
  placeSlider();
  clockShown();
}

// Theme.

function tellTheme() {
  if (control !== null && control.theme !== root.dataset.theme) control.theme = root.dataset.theme;
}

document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  document.cookie = `rainzmq_theme=${root.dataset.theme}; path=/; max-age=31536000; SameSite=Strict`;
  tellTheme();
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
  if (/(?:^|; )rainzmq_theme=/.test(document.cookie)) return;
  root.dataset.theme = event.matches ? "dark" : "light";
  tellTheme();
});

// Figures: where a click on a bar or node leads.

function follow(href) {
  if (href.startsWith("?")) setQuery(href);
  else location.assign(href);
}

function connectClicks(doc) {
  for (const name of ["bars", "nodes"]) {
    const source = doc.get_model_by_name(name);
    if (source === null) continue;
    source.selected.properties.indices.change.connect(() => {
      // Of bars over each other the one that is seen is drawn last.
      const index = source.selected.indices.at(-1);
      if (index === undefined) return;
      const href = source.data.href[index];
      if (href) follow(href);
      else zoomTo(doc, source.data.left[index], source.data.right[index]);
      source.selected.indices = [];
    });
  }
}

function zoomTo(doc, left, right) {
  const range = doc.get_model_by_name("stream-range");
  const margin = Math.max(1, (right - left) * 0.1);
  if (range !== null) range.setv({ start: left - margin, end: right + margin });
}

// Cancelling a session.

const dialog = document.getElementById("cancel");
let toCancel = null;

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-cancel]");
  if (button === null || dialog === null) return;
  toCancel = button.dataset.cancel;
  document.getElementById("cancel-name").textContent = button.dataset.name;
  document.getElementById("cancel-error").textContent = "";
  dialog.showModal();
});

async function cancelSession() {
  const problem = document.getElementById("cancel-error");
  const answer = await fetch(`/api/v1/sessions/${toCancel}/cancel`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ reason: document.getElementById("cancel-reason").value }),
  }).catch((error) => ({ ok: false, statusText: String(error), json: async () => ({}) }));
  if (answer.ok) {
    dialog.close();
    return;
  }
  const said = await answer.json().catch(() => ({}));
  problem.textContent = said.detail || said.title || answer.statusText;
}

if (dialog !== null) {
  document.getElementById("cancel-no").addEventListener("click", () => dialog.close());
  document.getElementById("cancel-yes").addEventListener("click", cancelSession);
}

// The connection.

const RETRY_MS = 2000;
const CHECK_MS = 10000;
const MISSED = 2;
let lastSeen = new Date();

function timeOfDay(date) {
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

function onLost() {
  if (control === null) return;
  const now = timeOfDay(lastSeen);
  document.getElementById("last").textContent = now;
  document.getElementById("lost").hidden = false;
  root.dataset.connected = "no";
  const pill = document.querySelector(".status .pill");
  if (pill !== null) {
    pill.className = "pill bad";
    pill.textContent = `not connected, last seen ${now}`;
  }
  control = null;
  const retry = setInterval(async () => {
    const answer = await fetch("/api/v1/server", { cache: "no-store" }).catch(() => null);
    if (answer === null || !answer.ok) return;
    clearInterval(retry);
    location.reload();
  }, RETRY_MS);
}

// A network that goes silent closes no connection: it is asked now and then.
function watch() {
  let missed = 0;
  setInterval(async () => {
    if (control === null) return;
    const signal = AbortSignal.timeout(CHECK_MS);
    const answer = await fetch("/api/v1/server", { cache: "no-store", signal }).catch(() => null);
    missed = answer === null ? missed + 1 : 0;
    if (answer !== null) lastSeen = new Date();
    if (missed >= MISSED) onLost();
  }, CHECK_MS);
}

async function connect() {
  await Bokeh.embed.embed_items({}, [told.item]);
  const doc = Bokeh.documents[0];
  doc.on_event("connection_lost", () => {
    lastSeen = new Date();
    onLost();
  });
  control = doc.get_model_by_name("control");
  connectFragments(doc);
  connectClicks(doc);
  tellTheme();
  tellQuery();
  showMiddle();
  root.dataset.connected = "yes";
  watch();
}

showActiveTab();
markScroll();
connect();

// What makes the pages better than plain: nothing here is needed to use them.
"use strict";

const LOOK = 1500;
// Where the server says what has changed, clocks alone go on.
const HEARD = 10000;

// How long ago something was, kept true.
function distance(seconds) {
  const length = Math.abs(seconds);
  if (length < 45) return seconds >= 0 ? "just now" : "in a moment";
  let said;
  for (const [unit, size, until] of [["min", 60, 3600], ["h", 3600, 129600], ["days", 86400, Infinity]]) {
    if (length >= until) continue;
    const many = Math.max(1, Math.round(length / size));
    said = many + " " + (unit === "days" && many === 1 ? "day" : unit);
    break;
  }
  return seconds >= 0 ? said + " ago" : "in " + said;
}

function age(root) {
  for (const one of root.querySelectorAll("time[data-ago]")) {
    const said = distance((Date.now() - Date.parse(one.dateTime)) / 1000);
    if (one.textContent !== said) one.textContent = said;
  }
}

// A part of a page that moves is put in place again while it goes on, but not under somebody's hands.
function busy(part) {
  return part.querySelector("details[open]") || (document.activeElement !== document.body && part.contains(document.activeElement));
}

// Tells when something has changed, as the server says it; without its word, when it is time to look.
function listen(part) {
  const source = part.dataset.events && window.EventSource ? new EventSource(part.dataset.events) : null;
  let news = false;
  let wake = () => {};
  const told = () => ((news = true), wake());
  if (source) for (const kind of ["progress", "end"]) source.addEventListener(kind, told);
  const wait = async (length) => {
    const heard = source && source.readyState === EventSource.OPEN;
    if (!news) await new Promise((go) => ((wake = go), setTimeout(go, heard ? Math.max(length, HEARD) : length)));
    news = false;
  };
  return { wait, close: () => source && source.close() };
}

// What else the page shows has changed as well; what was said after the last act stays.
async function renew() {
  const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
  if (!answer.ok) throw new Error(answer.status);
  const made = new DOMParser().parseFromString(await answer.text(), "text/html");
  const main = document.querySelector("main");
  const said = main.querySelector(".said");
  main.replaceChildren(...made.querySelector("main").childNodes);
  if (said) main.prepend(said);
  document.title = made.title;
  begin();
}

async function follow(part) {
  if (part.hasAttribute("data-over")) return;
  const every = Number(part.dataset.every) || LOOK;
  const changes = listen(part);
  let wait = every;
  while (!part.hasAttribute("data-over")) {
    await changes.wait(wait);
    while (document.hidden || busy(part)) await new Promise((go) => setTimeout(go, every));
    const began = performance.now();
    try {
      const answer = await fetch(part.dataset.live, { credentials: "same-origin", redirect: "error" });
      if (!answer.ok) throw new Error(answer.status);
      const held = document.createElement("template");
      held.innerHTML = await answer.text();
      if (busy(part)) continue;
      const state = held.content.querySelector("[data-now]");
      if (state && state.dataset.now !== part.dataset.state) {
        await renew();
        break;
      }
      part.replaceChildren(held.content);
      age(part);
      part.classList.remove("stale");
      wait = Math.max(every, (performance.now() - began) * 10);
    } catch {
      part.classList.add("stale");
      wait = Math.min(wait * 2, 30000);
    }
  }
  changes.close();
}

// One menu open at a time; Escape and a click elsewhere close it.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

function typing(target) {
  return target.closest("input, select, textarea, [contenteditable]");
}

// Keys: a page each, / to find, j and k through rows.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    if (typing(event.target)) event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (event.key === "j" || event.key === "k") {
    const rows = [...document.querySelectorAll("[data-row] a.row")];
    const at = rows.indexOf(document.activeElement);
    const next = rows[event.key === "j" ? Math.min(at + 1, rows.length - 1) : Math.max(at - 1, 0)];
    if (next) next.focus();
    return;
  }
  const there = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!there) return;
  event.preventDefault();
  if (there.matches("input")) there.focus();
  else there.click();
});

// The same form is not sent twice by a hurried hand.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, 5000);
});

// A picture that cannot be drawn leaves no hole.
document.addEventListener("error", (event) => {
  if (event.target.matches && event.target.matches(".thumb img")) event.target.closest(".thumb").classList.add("blank");
}, true);

// Parts that take their time come after the page.
async function fill(part) {
  const asked = part.querySelector("a");
  if (asked) asked.textContent = "Asking …";
  const answer = await fetch(part.dataset.part, { credentials: "same-origin", redirect: "error" }).catch(() => null);
  if (answer && answer.ok) part.innerHTML = await answer.text();
}

function begin() {
  age(document);
  for (const part of document.querySelectorAll("[data-part]")) fill(part);
  for (const part of document.querySelectorAll("[data-live]")) follow(part);
}

begin();
setInterval(() => age(document), 15000);

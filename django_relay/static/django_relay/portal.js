// The portal works without this file. With it: times in the reader's zone, copy buttons, an event picker with search
// and three-state groups, and a frame that tells its parent how high it is. No dependency, no inline script.
"use strict";
(() => {
  const root = document.documentElement;
  const language = root.lang || undefined;
  const say = (text) => {
    const region = document.getElementById("toast");
    if (!region) return;
    const message = document.createElement("div");
    message.textContent = text;
    region.replaceChildren(message);
    clearTimeout(say.timer);
    say.timer = setTimeout(() => region.replaceChildren(), 2400);
  };

  // Times: what the server wrote is UTC, and stays as the title.
  const formats = {
    moment: new Intl.DateTimeFormat(language, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }),
    minute: new Intl.DateTimeFormat(language, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
    date: new Intl.DateTimeFormat(language, { day: "numeric", month: "short", year: "numeric" }),
    day: new Intl.DateTimeFormat(language, { day: "numeric", month: "short" }),
    time: new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  };
  const localise = (within) => {
    for (const time of within.querySelectorAll("time[data-as]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.textContent = formats[time.dataset.as].format(at);
      time.dataset.local = "";
    }
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    for (const field of within.querySelectorAll("input[data-zone-offset]")) field.value = String(-new Date().getTimezoneOffset());
    for (const place of within.querySelectorAll("[data-zone]")) place.textContent = zone;
  };

  // Charts: what the bar under the pointer stands for, in place of the peak.
  document.addEventListener("pointerover", (event) => {
    const plot = event.target.closest(".plot");
    const reading = plot?.querySelector("[data-reading]");
    if (!reading) return;
    reading.dataset.reading ||= reading.textContent;
    const bar = event.target.closest("g[data-at]");
    const counts = bar?.querySelector("title").textContent.split(" UTC: ")[1].trim();
    reading.textContent = bar ? `${formats.minute.format(new Date(bar.dataset.at))} · ${counts || "0"}` : reading.dataset.reading;
    plot.addEventListener("pointerleave", () => { reading.textContent = reading.dataset.reading; }, { once: true });
  });

  // Event picker
  const groupState = (group) => {
    const boxes = [...group.querySelectorAll("[data-type] input")];
    const head = group.querySelector("[data-group]");
    if (!head || !boxes.length) return;
    const chosen = boxes.filter((box) => box.checked).length;
    head.checked = chosen === boxes.length;
    head.indeterminate = chosen > 0 && chosen < boxes.length;
  };
  const pick = (within) => {
    for (const picker of within.querySelectorAll("[data-picker]")) picker.querySelectorAll("fieldset").forEach(groupState);
  };
  document.addEventListener("change", (event) => {
    const group = event.target.closest("[data-picker] fieldset");
    if (!group) return;
    if (event.target.matches("[data-group]")) {
      for (const box of group.querySelectorAll("[data-type]:not([hidden]) input")) box.checked = event.target.checked;
    }
    groupState(group);
  });
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-picker-search]")) return;
    const picker = event.target.closest("[data-picker]");
    const wanted = event.target.value.trim().toLowerCase();
    let found = 0;
    for (const group of picker.querySelectorAll("fieldset")) {
      let here = 0;
      for (const type of group.querySelectorAll("[data-type]")) {
        type.hidden = !type.textContent.toLowerCase().includes(wanted);
        here += !type.hidden;
      }
      group.hidden = !here;
      found += here;
    }
    picker.querySelector("[data-picker-none]").hidden = found > 0;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("[data-picker-search]")) event.preventDefault();
  });

  // Copying
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = document.createElement("textarea");
      field.value = text;
      field.className = "unseen";
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      if (!done) return false;
    }
    return true;
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (button) {
      const source = button.dataset.copyFrom;
      const text = source ? document.getElementById(source)?.textContent : button.dataset.copy;
      if (text && (await copy(text.trim()))) say(button.dataset.copied || "✓");
      button.focus();
    }
    const all = event.target.closest("[data-select-all]");
    if (all) {
      for (const box of document.querySelectorAll(`input[name="${all.dataset.selectAll}"]`)) box.checked = all.checked;
    }
    for (const count of document.querySelectorAll("[data-chosen]")) {
      count.textContent = document.querySelectorAll(`input[name="${count.dataset.chosen}"]:checked`).length.toLocaleString(language);
    }
    const row = event.target.closest("[data-add-row]");
    if (row) {
      const template = document.getElementById(row.dataset.addRow);
      row.before(template.content.cloneNode(true));
      row.previousElementSibling.querySelector("input")?.focus();
    }
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && event.target.closest("details.menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // Forms that filter lists send themselves once changed, and leave out what is empty.
  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (form?.matches("[data-send-on-change]") && event.target.matches("select")) form.requestSubmit();
  });

  // A link's token stands in the fragment, which no server sees: it is sent once, in a body, and leaves the address bar.
  const enter = document.querySelector("form[data-enter]");
  if (enter && location.hash.length > 1) {
    enter.elements.token.value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname);
    const go = () => !document.hidden && !document.prerendering && enter.requestSubmit();
    if (document.hidden || document.prerendering) document.addEventListener("visibilitychange", go, { once: true });
    else go();
  }

  // In a frame: the listed ancestors are the only parents there can be (frame-ancestors), and a height is no secret.
  if (window.parent !== window) {
    root.dataset.framed = "";
    const tell = () => window.parent.postMessage({ source: "django_relay", height: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
    new ResizeObserver(tell).observe(document.body);
  }

  const improve = (within) => { localise(within); pick(within); };
  improve(document);
  for (const tabs of document.querySelectorAll(".tabs")) {
    const current = tabs.querySelector("[aria-current]");
    if (current && tabs.scrollWidth > tabs.clientWidth) tabs.scrollLeft = current.offsetLeft - tabs.offsetLeft - 16;
  }
  document.addEventListener("htmx:after:swap", () => improve(document));
  document.addEventListener("htmx:after:settle", () => improve(document));
})();

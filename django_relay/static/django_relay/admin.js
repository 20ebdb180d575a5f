// The progress of a replay, looked at again every few seconds while it goes on. Without this there is a link.
"use strict";
(() => {
  const id = "relay-progress";
  const again = async () => {
    const here = document.getElementById(id);
    if (!here || !here.dataset.relayRefresh) return;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(id);
      if (answer.ok && fresh) here.replaceWith(fresh);
    } catch { /* the next look may succeed */ }
    wait();
  };
  const wait = () => {
    const here = document.getElementById(id);
    if (here && here.dataset.relayRefresh) setTimeout(again, 1000 * Number(here.dataset.relayRefresh));
  };
  document.addEventListener("DOMContentLoaded", wait);
})();

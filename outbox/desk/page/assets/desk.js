// The pages of the desk work without this script. With it, a page follows what changes: at
// each event of its stream it fetches itself again and replaces the elements with data-live,
// by id. It warns before an idle session ends.
'use strict';
/* idle: a page warns two minutes before its session ends, and shows the sign-in at the end.
   What is done in another tab counts, because the tabs share the session. Times are compared
   with the clock, because a computer that sleeps runs no timer. */
(() => {
  window.addEventListener('pageshow', (e) => { if (e.persisted) location.reload(); }); // Back shows no page of an ended session
  if (!document.body.dataset.idle) return;
  const minute = 60000;
  const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('desk-session') : undefined;
  let end, warn, last = false, warning, timer; // warn is for how long before the end the warning is shown

  const leave = () => location.replace('/sign-in?ended=idle&next=' + encodeURIComponent(location.pathname + location.search));
  const element = (name, properties) => Object.assign(document.createElement(name), properties);

  const show = () => {
    const text = 'You will be signed out at ' + new Date(end).toISOString().slice(11, 16) + ' UTC, and what you have typed will be lost.';
    warning = element('div', { className: 'note warn ends', id: 'session-ends', role: 'alert' });
    warning.append(element('p', { textContent: last ? text + ' The session cannot last longer.' : text }));
    if (!last) warning.append(element('button', { textContent: 'Stay signed in', type: 'button', onclick: stay }));
    document.getElementById('main').prepend(warning);
  };

  const look = () => {
    clearTimeout(timer);
    const left = end - Date.now();
    if (left <= 0) return leave();
    if (left <= warn && !warning) show();
    timer = setTimeout(look, Math.min(left > warn ? left - warn : left, minute / 4));
  };

  const endAt = (time) => {
    end = time;
    warn = Math.min(2 * minute, (end - Date.now()) / 2);
    warning = warning?.remove(); // undefined
    look();
  };

  const stay = async () => {
    try {
      const answer = await fetch('/session', { method: 'POST', redirect: 'manual' });
      if (!answer.ok) return leave(); // to the sign-in
      const renewed = await answer.json();
      last = renewed.last;
      endAt(Date.now() + renewed.seconds * 1000);
      if (last) show();
      tabs?.postMessage(end);
    } catch { /* The desk does not answer now. The button stays. */ }
  };

  tabs?.addEventListener('message', (e) => { if (e.data > end) endAt(e.data); });
  endAt(Date.now() + document.body.dataset.idle * 1000);
  tabs?.postMessage(end);
  document.addEventListener('visibilitychange', look);
})();

// live: at each event the page is fetched again, which is no activity of the PI. A case that
// has changed is not shown in place of the one that the PI looks at: the form is closed.
(() => {
  const path = document.body.dataset.livePath;
  if (!path || !window.EventSource) return;
  const policy = window.trustedTypes?.createPolicy('desk', { createHTML: (html) => html }) ?? { createHTML: (html) => html };
  const page = document.querySelector('[data-page]')?.dataset.page ?? location.href; // a form that was refused has another address
  const pause = 15000; // ms until a stream that the server refused is tried again
  const soon = 3000; // ms until a page that could not be read is tried again; no further event may come
  let source, timer, retry, reading = false, again = false, over = false;

  const close = () => { source?.close(); source = undefined; clearTimeout(timer); clearTimeout(retry); };
  const stop = () => { over = true; close(); };

  const replace = (html) => {
    const fresh = new DOMParser().parseFromString(policy.createHTML(html), 'text/html');
    const changed = document.getElementById('changed');
    if (changed && changed.dataset.stamp !== fresh.getElementById('changed')?.dataset.stamp) {
      changed.firstElementChild.hidden = false;
      document.getElementById('sign-button')?.setAttribute('disabled', '');
      return stop();
    }
    for (const old of document.querySelectorAll('[data-live]')) {
      const now = fresh.getElementById(old.id);
      if (!now || now.isEqualNode(old)) continue;
      const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
      old.replaceWith(document.adoptNode(now));
      if (focused) [...now.querySelectorAll('a')].find((a) => a.getAttribute('href') === focused)?.focus({ preventScroll: true });
    }
  };

  const read = async () => {
    if (reading) { again = true; return; }
    [reading, again] = [true, false];
    clearTimeout(retry);
    let failed = true;
    try {
      const answer = await fetch(page, { headers: { 'X-Live': '1' }, signal: AbortSignal.timeout(10000) });
      if (over) return; // a form is being sent
      if (answer.redirected || answer.status === 404) { stop(); location.assign(page); return; } // the session or the grant has ended
      if (answer.ok) { replace(await answer.text()); failed = false; }
    } catch { /* the server does not answer */ }
    reading = false;
    if (over || !source) return; // the stream that is opened next reads too
    if (again) read();
    else if (failed) retry = setTimeout(read, soon);
  };

  const open = () => {
    close();
    if (over || document.hidden) return;
    source = new EventSource(path);
    for (const name of ['open', 'waiting', 'published', 'delivered', 'acknowledged']) source.addEventListener(name, read);
    source.addEventListener('error', () => {
      if (source?.readyState !== EventSource.CLOSED) return; // the browser connects again
      read();
      timer = setTimeout(open, pause);
    });
  };

  document.addEventListener('submit', stop); // after a sign-out the page must not ask for itself again
  document.addEventListener('visibilitychange', open);
  window.addEventListener('pagehide', close);
  window.addEventListener('pageshow', (e) => { if (e.persisted) open(); });
  open();
})();

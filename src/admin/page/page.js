// The page of the admin port. It asks only the port that it came from, writes what it gets as text and never as markup,
// and shows what GET /api/v1/live sends; whoever wants it otherwise finds the same in GET /api/v1/pools.
'use strict';

const KEPT_SECONDS = 300;   // of the plots
const LATELY = 5;           // views that "now" is about
const KEPT_EVENTS = 200;
const MANY = 300;           // backends: beyond this only what is not well or looked for is listed

const at = (id) => document.getElementById(id);
const overview = { view: null, events: [], samples: [], rows: new Map() };

// === elements ===

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key === 'class') element.className = value;
    else if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

const LOOKS = { up: 'up', recovered: 'up', down: 'down', open: 'down', ejected: 'down', draining: 'draining',
  maintenance: 'maintenance', warn: 'warn' };

function badge(word, title, looks = LOOKS[word] || 'plain') {
  return make('span', { class: 'badge ' + looks, title }, word);
}

// Puts `children` into `element` unless they are there already, so that what somebody has marked or focused stays.
function fill(element, ...children) {
  const next = make(element.tagName, {}, ...children);
  if (next.innerHTML !== element.innerHTML) element.replaceChildren(...next.childNodes);
}

// === words ===

const number = (value, digits = 0) => value.toLocaleString('en', { maximumFractionDigits: digits });

function span(seconds) {
  if (seconds == null) return '';
  if (seconds < 0.001) return Math.round(seconds * 1e6) + ' µs';
  if (seconds < 1) return number(seconds * 1000, seconds < 0.01 ? 1 : 0) + ' ms';
  if (seconds < 60) return number(seconds, seconds < 10 ? 1 : 0) + ' s';
  if (seconds < 3600) return Math.floor(seconds / 60) + ' min';
  if (seconds < 172800) return Math.floor(seconds / 3600) + ' h ' + Math.floor(seconds % 3600 / 60) + ' min';
  return Math.floor(seconds / 86400) + ' days';
}

const sum = (counts) => Object.values(counts || {}).reduce((all, one) => all + one, 0);
const path = (pool, backend) => '/api/v1/pools/' + encodeURIComponent(pool) + '/backends/' + encodeURIComponent(backend);
const is_well = (backend) => backend.state === 'up' && !backend.ejected && !backend.disagreement && !backend.flapping
  && backend.overrides.length === 0;

// === asking ===

async function ask(where, options = {}) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem('evenkeel-token');
  if (token) headers.Authorization = 'Bearer ' + token;
  const answer = await fetch(where, { ...options, headers, cache: 'no-store' });
  if (answer.status !== 401) return answer;
  await log_in();
  return ask(where, options);
}

let logging_in = null;
function log_in() {
  logging_in ||= new Promise((done) => {
    const dialog = at('login');
    dialog.addEventListener('close', () => {
      sessionStorage.setItem('evenkeel-token', at('token').value.trim());
      at('token').value = '';
      logging_in = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return logging_in;
}

// Whom the port takes us for; what a reader may not do is not offered.
async function introduce() {
  const answer = await ask('/api/v1/whoami');
  if (!answer.ok) throw new Error('status ' + answer.status + ': ' + ((await answer.json().catch(() => ({}))).error || ''));
  const who = await answer.json();
  document.body.dataset.role = who.role;
  fill(at('who'), who.name ? who.name + ' (' + who.role + ')' : '');
}

async function act(where, body) {
  const answer = await ask(where, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Evenkeel-Request': '1' },
    body: body ? JSON.stringify(body) : undefined,
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error || said.problems || 'status ' + answer.status);
  return said;
}

// === the stream ===

async function follow() {
  for (;;) {
    try {
      await introduce();
      const answer = await ask('/api/v1/live');
      if (!answer.ok) throw new Error('status ' + answer.status + ': ' + (await answer.text()).slice(0, 200));
      await read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
      lost('the connection has ended');
    } catch (error) {
      lost(String(error.message || error));
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

async function read(reader) {
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split('\n');
      const field = (name) => lines.find((line) => line.startsWith(name + ': '))?.slice(name.length + 2);
      const data = field('data');
      if (data) take(field('event'), JSON.parse(data));
    }
  }
}

function lost(why) {
  at('state').className = 'lost';
  fill(at('state'), 'no connection to the balancer: ' + why);
}

function take(kind, data) {
  if (kind === 'overview') {
    overview.view = data;
    sample(data);
    requestAnimationFrame(show);
    // One that is open grows longer without any event.
    if (overview.open_incidents && performance.now() - overview.incidents_at > 5000) show_incidents();
  } else if (kind === 'events') {
    overview.events = [...data.events.reverse(), ...(data.fresh ? [] : overview.events)].slice(0, KEPT_EVENTS);
    show_events();
    show_incidents();
  }
}

// === plots ===

function sample(view) {
  const now = performance.now() / 1000;
  const backends = view.pools.flatMap((pool) => pool.backends.map((backend) => [pool.name + '/' + backend.name, backend]));
  const one = { now, run: view.uptime_seconds, answers: 0, errors: 0, picks: new Map() };
  for (const listener of view.listeners) {
    one.answers += sum(listener.responses);
    one.errors += (listener.responses || {})['5xx'] || 0;
  }
  let weight = 0, time = 0;
  const before = overview.samples.at(-1);
  for (const [name, backend] of backends) {
    one.picks.set(name, backend.picks);
    const fresh = before ? backend.picks - (before.picks.get(name) ?? backend.picks) : 0;
    if (fresh > 0 && backend.latency_seconds) { weight += fresh; time += fresh * backend.latency_seconds; }
  }
  one.bounds = view.bounds_seconds || [];
  one.took = new Map(view.pools.map((pool) => [pool.name, pool.took || []]));
  if (before && one.run >= before.run && now > before.now) {
    const passed = now - before.now;
    one.rate = Math.max(0, one.answers - before.answers) / passed;
    one.bad = Math.max(0, one.errors - before.errors) / passed;
    before.picks = new Map();
  } else {
    overview.samples = [];
  }
  overview.samples.push(one);
  const forgotten = overview.samples.at(-LATELY - 2);
  if (forgotten) forgotten.took = null;
  const all = [...one.took.keys()].map(lately);
  one.p50 = quantile(one.bounds, all, 0.5) ?? (weight ? time / weight : null);
  one.p99 = quantile(one.bounds, all, 0.99);
  while (overview.samples[0].now < now - KEPT_SECONDS) overview.samples.shift();
}

// How many answers of a pool took how long since some views ago.
function lately(pool) {
  const [now, then] = [overview.samples.at(-1), overview.samples.at(-LATELY - 1) || overview.samples[0]];
  const before = then.took?.get(pool) || [];
  return (now.took.get(pool) || []).map((count, at) => Math.max(0, count - (before[at] || 0)));
}

// What this share of them took at most; nothing where there were none. What is longer than all bounds is as long as the last.
function quantile(bounds, counted, share) {
  const counts = [];
  for (const one of counted) one.forEach((count, at) => { counts[at] = (counts[at] || 0) + count; });
  const wanted = counts.reduce((all, one) => all + one, 0) * share;
  let below = 0;
  for (const [at, count] of counts.entries()) {
    if (count > 0 && below + count >= wanted) {
      const lower = bounds[at - 1] || 0;
      return lower + ((bounds[at] ?? lower) - lower) * (wanted - below) / count;
    }
    below += count || 0;
  }
  return null;
}

function curve(points, most, close) {
  const last = points.at(-1)?.[0] ?? 0;
  const text = points.map(([x, y]) => (300 - (last - x)).toFixed(1) + ' ' + (98 - 94 * y / most).toFixed(1)).join('L');
  return 'M' + (close ? (300 - (last - points[0][0])).toFixed(1) + ' 98L' + text + 'L300 98Z' : text);
}

function plot(svg, lines) {
  const most = Math.max(1e-6, ...lines.flatMap((line) => line.points.map(([, y]) => y)));
  svg.setAttribute('viewBox', '0 0 300 100');
  svg.setAttribute('preserveAspectRatio', 'none');
  const made = [];
  for (const line of lines) {
    if (line.points.length < 2) continue;
    for (const kind of line.area ? ['area', 'curve'] : [line.kind]) {
      const shape = document.createElementNS('http://www.w3.org/2000/svg', 'path');
      shape.setAttribute('class', kind);
      shape.setAttribute('d', curve(line.points, most, kind === 'area'));
      made.push(shape);
    }
  }
  svg.replaceChildren(...made);
  return most;
}

function show_plots() {
  const points = (key) => overview.samples.filter((one) => one[key] != null).map((one) => [one.now, one[key]]);
  const last = overview.samples.at(-1);
  const most = plot(at('rate'), [{ points: points('rate'), area: true }, { points: points('bad'), kind: 'errors' }]);
  fill(at('rate-now'), last?.rate == null ? '' : number(last.rate, 1) + ' now, ' + number(most, 1) + ' at most'
    + (last.bad > 0 ? ', ' + number(last.bad, 1) + ' of 5xx' : ''));
  const longest = plot(at('time'), [{ points: points('p50'), area: true }, { points: points('p99'), kind: 'slowest' }]);
  const now = [['p50', last?.p50], ['p99', last?.p99]].filter(([, time]) => time != null);
  fill(at('time-now'), now.length === 0 ? '' : now.map(([word, time]) => word + ' ' + span(time)).join(', ') + ' now, '
    + span(longest) + ' at most');
}

// === what is ===

function show() {
  const view = overview.view;
  at('state').className = '';
  fill(at('state'), view.phase + ', version ' + view.version + ', generation ' + view.generation + ', for '
    + span(view.uptime_seconds));
  const backends = view.pools.flatMap((pool) => pool.backends);
  const up = backends.filter((backend) => backend.state === 'up').length;
  const connections = view.listeners.reduce((all, listener) => all + listener.connections, 0);
  const waiting = view.pools.reduce((all, pool) => all + pool.waiting, 0);
  const last = overview.samples.at(-1);
  const tile = (value, words, bad) => make('div', { class: 'tile' + (bad ? ' bad' : '') }, make('b', {}, value), make('span', {}, words));
  fill(at('summary'),
    tile(up + ' of ' + backends.length, 'backends up', up < backends.length),
    tile(last?.rate == null ? '–' : number(last.rate, 1), 'answers a second'),
    tile(last?.bad == null ? '–' : number(last.bad, 1), 'of them 5xx', last?.bad > 0),
    tile(number(connections), 'connections'),
    tile(number(backends.reduce((all, backend) => all + backend.in_flight, 0)), 'in flight'),
    tile(number(waiting), 'waiting', waiting > 0));
  show_plots();
  show_pools(view, backends.length > MANY);
}

function show_pools(view, many) {
  const find = at('find').value.trim().toLowerCase();
  const troubled = at('troubled').checked;
  const seen = new Set();
  let hidden = 0;
  for (const pool of view.pools) {
    const names_pool = find !== '' && pool.name.toLowerCase().includes(find);
    const wanted = pool.backends.filter((backend) => {
      const found = find === '' || names_pool || (backend.name + ' ' + backend.address).toLowerCase().includes(find);
      return found && (troubled || (many && find === '') ? !is_well(backend) : true);
    });
    hidden += pool.backends.length - wanted.length;
    if (wanted.length === 0 && (find !== '' || troubled || many)) continue;
    seen.add(pool.name);
    show_pool(pool, wanted);
  }
  for (const [name, row] of overview.rows) {
    if (!seen.has(name)) { row.section.remove(); overview.rows.delete(name); }
  }
  let note = at('hidden');
  if (!note) at('pools').append(note = make('p', { id: 'hidden', class: 'empty' }));
  at('pools').append(note);
  fill(note, hidden === 0 ? '' : number(hidden) + ' backends are not listed' + (many ? '; look for them by name' : ''));
}

const COLUMNS = [['Backend'], ['State'], ['Why', 'reason'], ['Weight', 'number'], ['In flight', 'number'], ['Answers', 'number'],
  ['Failures', 'number'], ['Time', 'number'], ['']];

function show_pool(pool, backends) {
  let kept = overview.rows.get(pool.name);
  if (!kept) {
    const head = make('header', {});
    const alarms = make('div', {});
    const body = make('tbody', {});
    const titles = COLUMNS.map(([title, kind]) => make('th', { class: kind, scope: 'col' }, title));
    const table = make('table', { class: 'cards' }, make('thead', {}, make('tr', {}, ...titles)), body);
    const section = make('section', { class: 'pool', 'aria-label': 'Pool ' + pool.name }, head, alarms, make('div', { class: 'scroll' }, table));
    kept = { section, head, alarms, body, rows: new Map() };
    overview.rows.set(pool.name, kept);
    at('pools').append(section);
  }
  kept.section.className = 'pool' + (pool.backends_up === 0 || pool.alarms.length ? ' bad' : '');
  const facts = [pool.mode + (pool.active ? ', ' + pool.active + ' is active' : ''), pool.balance,
    pool.healthy_when && 'healthy when ' + pool.healthy_when, pool.follows && 'follows ' + pool.follows,
    pool.waiting > 0 && pool.waiting + ' waiting', pool.retries > 0 && number(pool.retries) + ' retries',
    sum(pool.failed) > 0 && number(sum(pool.failed)) + ' failed', ...tempo(pool)];
  const looks = pool.backends_up === 0 ? 'down' : pool.backends_up < pool.backends.length ? 'warn' : 'up';
  fill(kept.head, make('h2', {}, pool.name), badge(pool.backends_up + ' of ' + pool.backends.length + ' up', null, looks),
    make('p', {}, facts.filter(Boolean).join(' · ')));
  fill(kept.alarms, ...pool.alarms.map((alarm) => make('p', { class: 'alarm' }, alarm)));
  const seen = new Set();
  for (const backend of backends) {
    seen.add(backend.name);
    let row = kept.rows.get(backend.name);
    if (!row) {
      const cells = COLUMNS.map(([title, kind]) => make('td', { class: kind, 'data-label': title }));
      cells[0].removeAttribute('data-label');
      cells.at(-1).className = 'buttons-cell';
      cells.at(-1).append(
        make('button', { onclick: () => why(pool.name, backend.name), 'aria-label': 'Why is ' + backend.name + ' what it is?' }, 'Why'), ' ',
        make('button', { class: 'operate', onclick: () => order(pool.name, backend.name), 'aria-label': 'Order something for ' + backend.name }, 'Order'));
      row = { element: make('tr', {}, ...cells), cells };
      kept.rows.set(backend.name, row);
    }
    kept.body.append(row.element);
    show_backend(row.cells, backend);
  }
  for (const [name, row] of kept.rows) {
    if (!seen.has(name)) { row.element.remove(); kept.rows.delete(name); }
  }
}

function tempo(pool) {
  const [counted, { bounds }] = [[lately(pool.name)], overview.samples.at(-1)];
  const times = [['p50', 0.5], ['p99', 0.99]].map(([word, share]) => [word, quantile(bounds, counted, share)]);
  return times.map(([word, time]) => time != null && word + ' ' + span(time));
}

function show_backend(cells, backend) {
  const marks = [badge(backend.state)];
  if (backend.role) marks.push(' ', badge(backend.role));
  if (backend.ejected) marks.push(' ', badge('warn', 'its traffic fails while its checks are well'), ' ejected');
  if (backend.flapping) marks.push(' ', badge('flapping'));
  if (backend.backup) marks.push(' ', badge('backup'));
  const bad = backend.checks.filter((check) => check.state !== 'up');
  const reasons = (bad.length ? bad : backend.checks).map((check) => check.name + ': ' + check.reason);
  const orders = backend.overrides.map((one) => one.words + ' by ' + one.owner + (one.reason ? ': ' + one.reason : ''));
  const texts = [
    [backend.name, make('small', {}, backend.address + (backend.zone ? ', zone ' + backend.zone : ''))],
    [...marks, make('small', {}, 'for ' + span(backend.since_seconds))],
    [reasons.join('; ') || 'no checks', ...[...orders, backend.disagreement].filter(Boolean).map((text) => make('small', {}, text))],
    [backend.weight + (backend.share_percent === 100 ? '' : ' × ' + backend.share_percent + ' %')],
    [backend.in_flight + (backend.connections_max ? ' of ' + backend.connections_max : '')],
    [number(sum(backend.responses) || backend.picks)],
    [number(backend.failures)],
    [span(backend.latency_seconds)],
  ];
  texts.forEach((text, column) => fill(cells[column], ...text));
}

function show_events() {
  fill(at('events'), ...(overview.events.length ? overview.events.map((event) => make('li', {},
    make('time', { datetime: event.at }, new Date(event.at).toLocaleTimeString()), badge(event.kind),
    make('b', {}, [event.pool, event.backend].filter(Boolean).join('/')), make('span', {}, event.message)))
    : [make('li', {}, 'nothing yet')]));
}

// === incidents ===

const KEPT_INCIDENTS = 50;

async function show_incidents() {
  overview.incidents_at = performance.now();
  const answer = await ask('/api/v1/incidents').catch(() => null);
  if (!answer?.ok) return;
  const { incidents } = await answer.json();
  overview.open_incidents = incidents.some((one) => one.state === 'open');
  at('incidents-section').hidden = incidents.length === 0;
  const figure = (title, text) => make('td', { class: 'number', 'data-label': title }, String(text));
  fill(at('incidents').tBodies[0], ...incidents.slice(-KEPT_INCIDENTS).reverse().map((one) => make('tr', {},
    make('td', {}, make('time', { datetime: one.detected }, new Date(one.detected).toLocaleTimeString())),
    make('td', {}, make('b', {}, one.pool + '/' + one.backend), one.origin === 'drill' ? ' (drill)' : ''),
    make('td', {}, badge(one.state)),
    figure('Found in', span(one.detection_seconds)), figure('Out in', span(one.out_of_rotation_seconds)),
    figure('Lasted', span(one.duration_seconds)),
    figure('Failed', one.requests_failed), figure('Retried', one.requests_retried), figure('Held', one.requests_held),
    figure('Cut', one.connections_cut),
    make('td', { class: 'reason' }, one.because))));
}

// === why ===

async function why(pool, backend) {
  const dialog = at('why');
  const close = make('button', { onclick: () => dialog.close() }, 'Close');
  const probe = make('button', { class: 'operate', onclick: () => look('/probe') }, 'Probe now');
  const body = make('div', {}, 'asking …');
  dialog.replaceChildren(make('h2', { id: 'why-title' }, pool + '/' + backend), body, make('p', { class: 'buttons' }, probe, close));
  dialog.showModal();
  async function look(first) {
    try {
      if (first) {
        fill(body, 'probing …');
        await act(path(pool, backend) + first);
      }
      const answer = await ask(path(pool, backend) + '/why');
      const view = await answer.json();
      if (!answer.ok) throw new Error(view.error);
      body.replaceChildren(...explain(view));
    } catch (error) {
      body.replaceChildren(make('p', { class: 'fault' }, String(error.message || error)));
    }
  }
  look();
}

function explain(view) {
  const facts = [view.role && 'role ' + view.role, view.gets_work ? 'gets work' : 'gets no work',
    view.share_percent === 100 ? null : view.share_percent + ' % of its weight', view.in_flight + ' in flight',
    view.healthy_when && 'healthy when ' + view.healthy_when];
  const made = [make('p', {}, badge(view.state), ' for ' + span(view.since_seconds) + ': ' + facts.filter(Boolean).join(', '))];
  for (const because of view.because) made.push(make('p', {}, typeof because === 'string' ? because : JSON.stringify(because)));
  for (const one of view.overrides) made.push(make('p', {}, one.words + ' by ' + one.owner + (one.reason ? ': ' + one.reason : '')));
  for (const check of view.checks) {
    made.push(make('h3', {}, 'check ' + check.name + ' ', badge(check.state)));
    made.push(make('p', {}, 'asked at ' + check.asked_at + (check.next_seconds == null ? '' : ', next in ' + span(check.next_seconds))
      + (check.against ? ', ' + check.against + ' of ' + check.needed + ' results against it' : '')));
    if (check.by_hand) made.push(make('p', {}, 'by hand:'), make('pre', {}, check.by_hand));
    for (const report of [check.last_bad, check.last_good]) if (report) made.push(...transcript(report));
  }
  return made;
}

function transcript(report) {
  const rows = report.steps.map((step) => make('tr', {}, make('td', { class: 'mono' }, span(step.at_seconds)), make('td', {}, step.kind),
    make('td', { class: 'mono' }, step.text)));
  return [make('p', {}, badge(report.good ? 'up' : 'down'), ' ' + span(report.age_seconds) + ' ago, took ' + span(report.took_seconds) + ': '
    + (report.layer ? report.layer + ': ' : '') + report.what),
    rows.length > 0 && make('details', { open: !report.good }, make('summary', {}, report.steps.length + ' steps'), make('table', { class: 'steps' }, make('tbody', {}, ...rows)))].filter(Boolean);
}

// === orders ===

const ORDERS = [['drain', 'drain: no new work, let old work finish'], ['maintenance', 'maintenance: no work, whatever the checks say'],
  ['ready', 'ready: take drain, maintenance and demote back'], ['promote', 'promote: make it the active one'],
  ['demote', 'demote: make another one the active one'], ['weight', 'weight: a percentage of its weight']];

function order(pool, backend) {
  const dialog = at('act');
  const verb = make('select', {}, ...ORDERS.map(([word, words]) => make('option', { value: word }, words)));
  const owner = make('input', { required: true, maxlength: 128, autocomplete: 'name' });
  owner.value = localStorage.getItem('evenkeel-owner') || '';
  const reason = make('input', { maxlength: 1024 });
  const minutes = make('input', { type: 'number', min: '0', step: 'any', placeholder: 'until it is taken back' });
  const percent = make('input', { type: 'number', min: '0', max: '1000', value: '50' });
  const deadline = make('input', { type: 'number', min: '0', step: 'any', placeholder: 'as long as it takes' });
  const force = make('input', { type: 'checkbox' });
  const of_weight = make('label', { hidden: true }, 'Percent of the weight', percent);
  const of_drain = make('label', {}, 'Cut what is left after (seconds)', deadline);
  verb.addEventListener('change', () => { of_weight.hidden = verb.value !== 'weight'; of_drain.hidden = verb.value !== 'drain'; });
  const said = make('p', { role: 'status' });
  const form = make('form', {}, make('h2', { id: 'act-title' }, pool + '/' + backend), make('label', {}, 'Order', verb), of_weight, of_drain,
    make('label', {}, 'Who orders it', owner), make('label', {}, 'Why', reason), make('label', {}, 'For (minutes)', minutes),
    make('label', {}, force, ' also against other people\'s orders, and if nobody is left to work'), said,
    make('p', { class: 'buttons' }, make('button', { type: 'button', onclick: () => dialog.close() }, 'Close'), make('button', { class: 'main' }, 'Order it')));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    localStorage.setItem('evenkeel-owner', owner.value);
    const body = { owner: owner.value, reason: reason.value, force: force.checked };
    if (minutes.value !== '' && verb.value !== 'ready') body.for_seconds = Number(minutes.value) * 60;
    if (verb.value === 'weight') body.percent = Number(percent.value);
    if (verb.value === 'drain' && deadline.value !== '') body.deadline_seconds = Number(deadline.value);
    try {
      const done = await act(path(pool, backend) + '/' + verb.value, body);
      said.className = '';
      fill(said, [done.message, ...done.notes].join(' '));
    } catch (error) {
      said.className = 'fault';
      fill(said, String(error.message || error));
    }
  });
  dialog.replaceChildren(form);
  dialog.showModal();
  verb.focus();
}

// === keys ===

document.addEventListener('keydown', (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName || '');
  if (event.key === '/' && !typing && !document.querySelector('dialog[open]')) {
    event.preventDefault();
    at('find').focus();
  }
});
for (const id of ['find', 'troubled']) at(id).addEventListener('input', () => overview.view && show());
follow();

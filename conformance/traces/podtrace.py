#!/usr/bin/env python3
"""podtrace: record and compare what clients see of a Pod's life.

  podtrace.py run     [scenario ...]   run scenarios, print compact traces
  podtrace.py record  [scenario ...]   run scenarios, store <scenario>.trace.json beside the spec
  podtrace.py compare [scenario ...]   run scenarios against another cluster, report differences from the stored traces
  podtrace.py show    [scenario ...]   print the stored traces
  podtrace.py diff REF.json NEW.json   compare two stored traces

Common flags: --kubeconfig F  --dir scenarios/  --parallel N  --busybox IMG  --agnhost IMG  --kubectl BIN
              --out DIR (store the candidate's traces)  --time-scale X (widen time tolerances)  --strict (runtime texts too)
A scenario is a YAML file: pod (or steps only), objects, actions, until, timeout, ignore, rt.  See scenarios/README.md.
Needs only python3 and PyYAML.  Exit code of compare/diff: number of scenarios with differences (max 100);
differences that a scenario's `allowed` names do not count.
"""
import argparse, base64, concurrent.futures as cf, copy, datetime, difflib, glob, http.client, json, os, re, ssl, subprocess, sys, tempfile, threading, time, urllib.parse, uuid
import yaml

SOFT = 1.7          # seconds: a state shorter than this may legally be missed or be extra
SOFTSTATES = re.compile(r'BackOff|ErrImage|InvalidImageName|RunContainerError|CreateContainerConfigError')   # retry states: when and how long they show is timing; that they show is checked
def earlier(ref, opt):   # a quicker node is no difference; skipping a 10 s back-off, a grace period or a probe delay is
    return max(6.0, 0.5 * ref) * opt.time_scale
ORDER_GAP = 1.5     # milestones further apart than this in the reference must keep their order

# ------------------------------------------------------------------ cluster access
class Cluster:
    def __init__(self, path):
        kc = yaml.safe_load(open(path)); self.path = path; base = os.path.dirname(os.path.abspath(path))
        cname = kc.get('current-context') or kc['contexts'][0]['name']
        ctx = next(c['context'] for c in kc['contexts'] if c['name'] == cname)
        cl = next(c['cluster'] for c in kc['clusters'] if c['name'] == ctx['cluster'])
        us = next((u['user'] for u in kc['users'] if u['name'] == ctx['user']), {})
        def f(d, k):
            if d.get(k): return d[k] if os.path.isabs(d[k]) else os.path.join(base, d[k])
            if d.get(k + '-data'):
                t = tempfile.NamedTemporaryFile(delete=False); t.write(base64.b64decode(d[k + '-data'])); t.close(); return t.name
        self.url = urllib.parse.urlparse(cl['server'])
        self.ctx = None
        if self.url.scheme == 'https':
            ca = f(cl, 'certificate-authority')
            self.ctx = ssl.create_default_context(cafile=ca) if ca and not cl.get('insecure-skip-tls-verify') else ssl._create_unverified_context()
            self.ctx.check_hostname = False
            if f(us, 'client-certificate'): self.ctx.load_cert_chain(f(us, 'client-certificate'), f(us, 'client-key'))
        self.h = {'Accept': 'application/json'}
        if us.get('token'): self.h['Authorization'] = 'Bearer ' + us['token']
    def conn(self, timeout=60):
        n = self.url.netloc
        return http.client.HTTPSConnection(n, context=self.ctx, timeout=timeout) if self.ctx else http.client.HTTPConnection(n, timeout=timeout)
    def open(self, method, path, body=None, ctype='application/json', accept=None, timeout=60):
        c = self.conn(timeout); h = dict(self.h)
        if accept: h['Accept'] = accept
        if body is not None:
            h['Content-Type'] = ctype
            if not isinstance(body, (str, bytes)): body = json.dumps(body)
        c.request(method, (self.url.path.rstrip('/') or '') + path, body=body, headers=h)
        return c, c.getresponse()
    def req(self, method, path, body=None, ctype='application/json', accept=None):
        for n in range(3):
            try:
                c, r = self.open(method, path, body, ctype, accept); b = r.read(); c.close(); break
            except (OSError, http.client.HTTPException):
                if n == 2: raise
                time.sleep(0.5)
        try: o = json.loads(b)
        except ValueError: o = b.decode('utf8', 'replace')
        return r.status, o

PLURAL = {'ConfigMap': ('/api/v1', 'configmaps'), 'Secret': ('/api/v1', 'secrets'), 'Service': ('/api/v1', 'services'),
          'ServiceAccount': ('/api/v1', 'serviceaccounts'), 'Job': ('/apis/batch/v1', 'jobs'), 'Pod': ('/api/v1', 'pods'),
          'LimitRange': ('/api/v1', 'limitranges')}

def iso(s):
    if not s: return None
    m = re.match(r'(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)$', s)
    if not m: return None
    t = datetime.datetime.fromisoformat(m.group(1) + ('+00:00' if m.group(3) == 'Z' else m.group(3))).timestamp()
    return t + float(m.group(2) or 0)

# ------------------------------------------------------------------ one scenario
class Run:
    def __init__(self, cl, sc, opt):
        self.cl, self.sc, self.opt = cl, sc, opt
        self.ns = 'lc-%s-%s' % (sc['id'].lower()[:30].replace('_', '-'), uuid.uuid4().hex[:5])
        self.name = 'p'
        self.lock = threading.RLock(); self.stop = threading.Event()
        self.t0 = time.time()
        self.uids = {}; self.node = None; self.ips = {}
        self.phase = []; self.conds = {}; self.ctrs = {}; self.rows = []; self.meta = []; self.podreason = []
        self.events = []; self.evseen = {}; self.logs = []; self.checks = []; self.acts = []
        self.obj = None; self.deleted = None; self.everseen = False; self.logids = set(); self.threads = []; self.raw = []
    def now(self): return round(time.time() - self.t0, 2)
    # -------- text normalisation
    def sub(self, s):
        for k, v in (('$BUSYBOX', self.opt.busybox), ('$AGNHOST', self.opt.agnhost), ('$NS', self.ns), ('$NAME', self.name), ('$NODE', self.node or '')):
            s = s.replace(k, v)
        if self.obj:
            s = s.replace('$PODIP', self.obj.get('status', {}).get('podIP', '') or '')
        return s
    def deep(self, o):
        if isinstance(o, str): return self.sub(o)
        if isinstance(o, list): return [self.deep(x) for x in o]
        if isinstance(o, dict): return {k: self.deep(v) for k, v in o.items()}
        return o
    def norm(self, s):
        if not s: return s
        for u in list(self.uids): s = s.replace(u, '<uid>')
        s = re.sub(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', '<uid>', s)
        s = s.replace('%s_%s(<uid>)' % (self.name, self.ns), '<POD>').replace('%s_%s' % (self.name, self.ns), '<name_ns>').replace(self.ns, '<ns>')
        s = s.replace(self.opt.busybox, '<busybox>').replace(self.opt.agnhost, '<agnhost>')
        if self.node: s = re.sub(r'\b%s\b' % re.escape(self.node), '<node>', s)
        for ip, lab in sorted(self.ips.items(), key=lambda x: -len(x[0])): s = re.sub(r'(?<![\d.])%s(?![\d.])' % re.escape(ip), lab, s)
        s = re.sub(r'\b[0-9a-f]{64}\b', '<cid>', s)
        s = re.sub(r'in [0-9.]+m?s \([0-9.]+m?s including waiting\)\. Image size: \d+ bytes', 'in <d> (<d> including waiting). Image size: <n> bytes', s)
        s = re.sub(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)', '<time>', s)
        s = re.sub(r'kube-api-access-[a-z0-9]{5}', 'kube-api-access-<r>', s)
        s = re.sub(r':\d{5}->', ':<port>->', s)
        for pat, rep in self.sc.get('normalise') or []: s = re.sub(pat, rep, s)
        return s
    # -------- watching
    def push(self, track, v, t):
        if not track or track[-1]['v'] != v: track.append({'t': t, 'v': v}); return True
    def on_pod(self, row, typ):
        t = self.now(); o = row.get('object') or {}
        if (o.get('metadata') or {}).get('name') != self.name: return
        with self.lock:
            cells = row.get('cells') or []
            if typ == 'DELETED':
                self.deleted = t; self.push(self.meta, {'deleted': True}, t)
            self.everseen = True
            md, st, sp = o['metadata'], o.get('status') or {}, o.get('spec') or {}
            self.uids[md['uid']] = 1
            if sp.get('nodeName'): self.node = sp['nodeName']
            if st.get('hostIP'): self.ips[st['hostIP']] = '<hostip>'
            if st.get('podIP') and st['podIP'] not in self.ips: self.ips[st['podIP']] = '<podip>'
            self.obj = o
            if self.opt.raw: self.raw.append({'t': t, 'type': typ, 'row': cells[:4], 'o': o})
            if len(cells) > 3: self.push(self.rows, '%s %s %s' % (cells[1], cells[2], re.sub(r' \(.*', '', str(cells[3]))), t)
            if typ == 'DELETED': return
            self.push(self.phase, st.get('phase'), t)
            self.push(self.podreason, {'reason': st.get('reason'), 'message': self.norm(st.get('message'))}, t)
            self.push(self.meta, {k: v for k, v in {'generation': md.get('generation'), 'observed': st.get('observedGeneration'), 'deleting': bool(md.get('deletionTimestamp')) or None, 'grace': md.get('deletionGracePeriodSeconds'),
                      'podIP': bool(st.get('podIP')), 'qos': st.get('qosClass'), 'node': bool(sp.get('nodeName')), 'started': bool(st.get('startTime')), 'hostIP': bool(st.get('hostIP'))}.items() if v is not None}, t)
            seen = set()
            for c in st.get('conditions') or []:
                seen.add(c['type'])
                v = {k: self.norm(c[k]) for k in ('status', 'reason', 'message') if c.get(k)}
                self.push(self.conds.setdefault(c['type'], []), v, t)
            for k in self.conds:
                if k not in seen: self.push(self.conds[k], {'absent': True}, t)
            for grp in ('initContainerStatuses', 'containerStatuses', 'ephemeralContainerStatuses'):
                for c in st.get(grp) or []: self.on_ctr(c, t)
    def state(self, s):
        if not s: return None
        k = next(iter(s)); d = s[k] or {}; v = {'s': k}
        for f in ('reason', 'exitCode', 'signal'):
            if d.get(f) not in (None, ''): v[f] = d[f]
        if d.get('message'): v['message'] = self.norm(d['message'])
        return v
    def on_ctr(self, c, t):
        v = self.state(c.get('state')) or {'s': 'none'}
        v['restarts'] = c.get('restartCount', 0); v['ready'] = c.get('ready', False)
        if 'started' in c: v['started'] = c['started']
        l = self.state(c.get('lastState'))
        if l: v['last'] = {k: x for k, x in l.items() if k != 's'}
        self.push(self.ctrs.setdefault(c['name'], []), v, t)
        # logs
        for s, prev in ((c.get('state') or {}, False), (c.get('lastState') or {}, True)):
            cid = c.get('containerID') if 'running' in s else (s.get('terminated') or {}).get('containerID')
            if cid and cid not in self.logids and not self.sc.get('nologs'):
                self.logids.add(cid)
                n = c.get('restartCount', 0) - (1 if prev and 'waiting' not in (c.get('state') or {}) else 0)
                th = threading.Thread(target=self.getlog, args=(c['name'], n, prev, 'running' in s), daemon=True); th.start(); self.threads.append(th)
    def getlog(self, c, n, prev, follow):
        try:
            q = '/api/v1/namespaces/%s/pods/%s/log?container=%s&timestamps=true%s%s' % (self.ns, self.name, c, '&previous=true' if prev else '', '&follow=true' if follow else '')
            con, r = self.cl.open('GET', q, timeout=600)
            if r.status != 200: r.read(); return
            buf = b''
            while True:
                ch = r.read1(65536)
                if not ch: break
                buf += ch
                *lines, buf = buf.split(b'\n')
                for l in lines: self.logline(c, n, l)
            if buf: self.logline(c, n, buf)
            con.close()
        except Exception: pass
    def logline(self, c, n, l):
        l = l.decode('utf8', 'replace'); ts, _, txt = l.partition(' '); t = iso(ts)
        with self.lock: self.logs.append({'t': round((t or time.time()) - self.t0, 2), 'c': c, 'n': n, 'v': txt})
    def watch(self, kind):
        last = None
        while not self.stop.is_set():
            try:
                if kind == 'pods':
                    q = '/api/v1/namespaces/%s/pods?watch=1&includeObject=Object&timeoutSeconds=600' % self.ns
                    acc = 'application/json;as=Table;v=v1;g=meta.k8s.io'
                else:
                    q = '/api/v1/namespaces/%s/events?watch=1&timeoutSeconds=600' % self.ns; acc = None
                if last: q += '&resourceVersion=' + last
                con, r = self.cl.open('GET', q, accept=acc, timeout=600)
                if kind == 'pods': self.wcon = con
                if r.status != 200: r.read(); last = None; time.sleep(0.3); continue
                self.ready.release()
                while not self.stop.is_set():
                    l = r.readline()
                    if not l: break
                    e = json.loads(l)
                    if e['type'] == 'ERROR': last = None; break
                    if e['type'] == 'BOOKMARK': continue
                    o = e['object']
                    if kind == 'pods':
                        for row in o.get('rows') or []:
                            last = row['object']['metadata'].get('resourceVersion'); self.on_pod(row, e['type'])
                    else:
                        last = o['metadata'].get('resourceVersion'); self.on_event(o, e['type'])
            except Exception as x:
                if self.stop.is_set(): return
                if self.opt.verbose: print('watch', kind, repr(x), file=sys.stderr)
                time.sleep(0.3)
    def on_event(self, e, typ):
        if typ == 'DELETED': return
        io = e.get('involvedObject') or {}
        if io.get('name') != self.name or io.get('kind') != 'Pod': return
        with self.lock:
            self.events.append({'t': self.now(), 'k': e['metadata']['name'], 'v': {'type': e.get('type'), 'reason': e.get('reason'), 'field': re.sub(r'^spec\.', '', io.get('fieldPath') or ''), 'msg': e.get('message')},
                                'count': (e.get('series') or {}).get('count') or e.get('count') or 1, 'from': (e.get('source') or {}).get('component') or e.get('reportingComponent')})
    # -------- conditions for actions and end
    def holds(self, w, since):
        o = self.obj; st = (o or {}).get('status') or {}
        if w is None: return True
        if isinstance(w, (int, float)): return self.now() - since >= w
        for k, v in w.items():
            if k == 'after': ok = self.now() - since >= v
            elif k == 'deleted': ok = self.deleted is not None
            elif k == 'terminating': ok = bool((o or {}).get('metadata', {}).get('deletionTimestamp'))
            elif k == 'phase': ok = st.get('phase') in (v if isinstance(v, list) else [v])
            elif k == 'condition':
                ok = all(any(c['type'] == a and c['status'] == b for c in st.get('conditions') or []) for a, b in v.items())
            elif k == 'event': ok = any(re.search(v, e['v']['reason'] + ' ' + (e['v']['msg'] or '')) for e in self.events)
            elif k == 'log': ok = any(re.search(v, '%s/%d: %s' % (l['c'], l['n'], l['v'])) for l in self.logs)
            elif k == 'container':
                ok = True
                for cn, want in v.items():
                    cur = (self.ctrs.get(cn) or [{'v': {}}])[-1]['v']
                    for f, x in want.items():
                        if f == 'restarts_min': ok &= cur.get('restarts', 0) >= x
                        elif f == 'last': ok &= all((cur.get('last') or {}).get(a) == b for a, b in x.items())
                        else: ok &= cur.get(f) == x
            else: raise SystemExit('%s: unknown condition %s' % (self.sc['id'], k))
            if not ok: return False
        return True
    def wait(self, w, limit):
        s = self.now()
        while True:
            with self.lock:
                if self.holds(w, s): return True
            if self.now() - s > limit: return False
            time.sleep(0.05)
    def api(self, a):
        body = a.get('body')
        if body is not None: body = self.deep(copy.deepcopy(body))
        ct = {'merge': 'application/merge-patch+json', 'strategic': 'application/strategic-merge-patch+json', 'json': 'application/json-patch+json'}.get(a.get('patch'), 'application/json')
        p = self.sub(a['path']); p = p if p.startswith('/api') else '/api/v1/namespaces/%s/%s' % (self.ns, p)
        s, o = self.cl.req(a.get('method', 'GET'), p, body, ct)
        if isinstance(o, dict) and o.get('kind') == 'Status': out = {'code': s, 'reason': o.get('reason'), 'message': self.norm(o.get('message'))}
        else:
            out = {'code': s}
            if not isinstance(o, dict): out['text'] = self.norm(o)
            for f in a.get('pick') or []:
                x = o
                for q in f.split('.'):
                    x = (x[int(q)] if isinstance(x, list) and q.isdigit() and int(q) < len(x) else x.get(q) if isinstance(x, dict) else None) if x is not None else None
                out[f] = self.norm(x) if isinstance(x, str) else x
        return json.loads(self.norm(json.dumps(out)))
    def act(self, a):
        t = self.now(); name = a.get('name') or a['do']; self.acts.append({'t': t, 'v': name}); d = a['do']
        pp = 'pods/' + self.name
        if d == 'delete':
            q = '?gracePeriodSeconds=%d' % a['grace'] if 'grace' in a else ''
            r = self.api({'method': 'DELETE', 'path': pp + q, 'pick': ['metadata.deletionGracePeriodSeconds']})
        elif d == 'create': r = self.create(a['object'])
        elif d == 'remove': r = self.api({'method': 'DELETE', 'path': a['path']})
        elif d == 'patch': r = self.api({'method': 'PATCH', 'path': pp + ('/' + a['sub'] if a.get('sub') else ''), 'body': a['body'], 'patch': a.get('type', 'strategic'), 'pick': a.get('pick')})
        elif d == 'api': r = self.api(a)
        elif d == 'validate':
            pod = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'v'}, 'spec': a['spec']}
            if a.get('metadata'): pod['metadata'].update(a['metadata'])
            r = self.api({'method': 'POST', 'path': 'pods?dryRun=All', 'body': pod, 'pick': a.get('pick')})
        elif d == 'kubectl':
            cmd = [self.opt.kubectl, '--kubeconfig', self.cl.path, '-n', self.ns] + [self.sub(str(x)) for x in a['args']]
            try:
                p = subprocess.run(cmd, stdin=subprocess.DEVNULL, capture_output=True, timeout=a.get('timeout', 30), text=True, errors='replace')
                r = {'rc': p.returncode, 'out': self.norm(p.stdout), 'err': self.norm(p.stderr)}
            except FileNotFoundError: r = {'skipped': 'no kubectl'}
            except subprocess.TimeoutExpired as x: r = {'rc': 'timeout', 'out': self.norm((x.stdout or b'').decode('utf8', 'replace') if isinstance(x.stdout, bytes) else x.stdout or '')}
        elif d == 'sleep': time.sleep(a['seconds']); return
        elif d == 'field': r = {f: self.field(f) for f in a['fields']}
        else: raise SystemExit('unknown action ' + d)
        if a.get('keep', True) and r is not None:
            self.checks.append({'t': t, 'name': name, 'v': r})
    def field(self, f):
        x = self.obj
        for q in f.split('/'):
            if x is None: break
            if isinstance(x, list):
                if q.isdigit(): x = x[int(q)] if int(q) < len(x) else None
                else: x = next((e for e in x if isinstance(e, dict) and (e.get('name') == q or e.get('type') == q)), None)
            elif isinstance(x, dict): x = x.get(q)
            else: x = None
        return json.loads(self.norm(json.dumps(x)))
    def create(self, o):
        o = self.deep(copy.deepcopy(o)); base, pl = PLURAL[o['kind']]
        for n in range(60):
            s, r = self.cl.req('POST', '%s/namespaces/%s/%s' % (base, self.ns, pl), o)
            if s == 403 and 'serviceaccount' in json.dumps(r) or s == 404 and 'not found' in json.dumps(r) and n < 5: time.sleep(0.25); continue
            break
        if s >= 300: return {'code': s, 'reason': r.get('reason') if isinstance(r, dict) else None, 'message': self.norm(r.get('message') if isinstance(r, dict) else r)}
        return {'code': s}
    # -------- main
    def go(self):
        sc = self.sc
        self.cl.req('POST', '/api/v1/namespaces', {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': self.ns, 'labels': {'podtrace': '1'}}})
        self.ready = threading.Semaphore(0)
        for k in ('pods', 'events'): threading.Thread(target=self.watch, args=(k,), daemon=True).start()
        for _ in range(2): self.ready.acquire(timeout=10)
        result = 'done'
        s, nl = self.cl.req('GET', '/api/v1/nodes')
        if s == 200 and nl.get('items'): self.node = nl['items'][0]['metadata']['name']
        try:
            for o in sc.get('objects') or []:
                r = self.create(o)
                if r['code'] >= 300: self.checks.append({'t': 0, 'name': 'create ' + o['kind'], 'v': r})
            if sc.get('serviceenv'): time.sleep(2)
            self.t0 = time.time()
            if sc.get('pod'):
                pod = copy.deepcopy(sc['pod']); pod.setdefault('apiVersion', 'v1'); pod.setdefault('kind', 'Pod'); pod.setdefault('metadata', {})['name'] = self.name
                if not sc.get('token'): pod['spec'].setdefault('automountServiceAccountToken', False)
                pod['spec'].setdefault('tolerations', [{'operator': 'Exists'}])
                r = self.create(pod)
                if r['code'] >= 300: self.checks.append({'t': 0, 'name': 'create pod', 'v': r})
            end = sc.get('timeout', 60)
            for a in sc.get('actions') or []:
                if not self.wait(a.get('when'), a.get('within', end)):
                    self.checks.append({'t': self.now(), 'name': 'wait for ' + (a.get('name') or a['do']), 'v': 'never reached'}); result = 'stuck'
                    if not a.get('anyway'): break
                if a.get('delay'): time.sleep(a['delay'])
                self.act(a)
            if not self.wait(sc.get('until'), max(1, end - self.now())): result = 'timeout'
            time.sleep(sc.get('settle', 1.0))
            for a in sc.get('finally') or []: self.act(a)
        finally:
            tend = self.now()
            if self.opt.keep: pass
            else:
                snap = self.snapshot(result, tend)
                if self.obj and self.obj['metadata'].get('finalizers'): self.cl.req('PATCH', '/api/v1/namespaces/%s/pods/%s' % (self.ns, self.name), {'metadata': {'finalizers': None}}, 'application/merge-patch+json')
                self.cl.req('DELETE', '/api/v1/namespaces/%s/pods/%s?gracePeriodSeconds=1' % (self.ns, self.name))
                self.cl.req('DELETE', '/api/v1/namespaces/%s' % self.ns)
                self.stop.set(); return snap
        snap = self.snapshot(result, tend); self.stop.set(); return snap
    def snapshot(self, result, tend):
        with self.lock:
            ev = []; idx = {}
            for e in self.events:
                if e['t'] > tend: continue
                v = dict(e['v']); v['msg'] = self.norm(v['msg']); key = json.dumps(v, sort_keys=True)
                if key in idx: x = ev[idx[key]]; x['keys'][e['k']] = e['count']
                else: idx[key] = len(ev); ev.append({'t': e['t'], 'v': v, 'keys': {e['k']: e['count']}})
            for x in ev: x['count'] = sum(x.pop('keys').values())
            ign = [re.compile(p) for p in self.sc.get('dropLogs') or []]
            logs = sorted(({'t': l['t'], 'c': l['c'], 'n': l['n'], 'v': self.norm(l['v'])} for l in self.logs if l['t'] <= tend + 0.5), key=lambda l: (l['t'],))
            logs = [l for l in logs if not any(p.search(l['v']) for p in ign)]
            if len(logs) > 400: logs = logs[:400]
            o = {'scenario': self.sc['id'], 'title': self.sc.get('title'), 'result': result, 'end': tend, 'actions': self.acts, 'phase': self.phase, 'podReason': self.podreason, 'meta': self.meta, 'row': self.rows,
                 'conditions': self.conds, 'containers': self.ctrs, 'events': ev, 'logs': logs, 'checks': self.checks}
            if self.opt.raw: json.dump(self.raw, open(os.path.join(self.opt.raw, self.sc['id'] + '.raw.json'), 'w'))
            return copy.deepcopy(o)

# ------------------------------------------------------------------ printing
def sv(v):
    if isinstance(v, dict): return ' '.join('%s=%s' % (k, sv(x) if not isinstance(x, dict) else '{' + sv(x) + '}') for k, x in v.items())
    return str(v)
def show(tr, out=sys.stdout, width=230):
    p = lambda s: print(s[:width] if width else s, file=out)
    p('=== %s %s  [%s, %.1fs]' % (tr['scenario'], tr.get('title') or '', tr['result'], tr['end']))
    L = []
    for e in tr['actions']: L.append((e['t'], 'ACTION', e['v']))
    for e in tr['phase']: L.append((e['t'], 'phase', e['v']))
    for e in tr['podReason']:
        if e['v'].get('reason') or e['v'].get('message'): L.append((e['t'], 'podreason', sv(e['v'])))
    for e in tr['meta']: L.append((e['t'], 'meta', sv(e['v'])))
    for e in tr['row']: L.append((e['t'], 'row', e['v']))
    for k, tk in tr['conditions'].items():
        for e in tk: L.append((e['t'], 'cond ' + k, sv(e['v'])))
    for k, tk in tr['containers'].items():
        for e in tk: L.append((e['t'], 'ctr ' + k, sv(e['v'])))
    for e in tr['events']: L.append((e['t'], 'event', '%s %s %s x%d | %s' % (e['v']['type'], e['v']['reason'], e['v']['field'], e['count'], e['v']['msg'])))
    for e in tr['logs']: L.append((e['t'], 'log %s/%d' % (e['c'], e['n']), e['v']))
    for e in tr['checks']: L.append((e['t'], 'check ' + e['name'], json.dumps(e['v'])))
    for t, k, v in sorted(L, key=lambda x: x[0]): p('%7.2f  %-22s %s' % (t, k, v))

# ------------------------------------------------------------------ comparing
def base_of(tr, t):
    b = 0
    for a in tr['actions']:
        if a['t'] <= t + 0.05: b = a['t']
    return b
def durations(track, end): return [(track[i + 1]['t'] if i + 1 < len(track) else end + 999) - e['t'] for i, e in enumerate(track)]
RTKEYS = re.compile(r'OCI runtime|runc|containerd|failed to create (shim|containerd)|rpc error|StartError|dial tcp|connection refused|Client\.Timeout|context deadline|Image size')
def canon(v, rt, strict):
    v = copy.deepcopy(v)
    def walk(o):
        if isinstance(o, dict): return {k: walk(x) for k, x in o.items()}
        if isinstance(o, list): return [walk(x) for x in o]
        if isinstance(o, str) and not strict and (RTKEYS.search(o) and len(o) > 40 or any(p.search(o) for p in rt)): return '<rt text>'
        return o
    return json.dumps(walk(v), sort_keys=True)
def compare(ref, new, sc, opt):
    rt = [re.compile(p) for p in sc.get('rt') or []]; ign = [re.compile(p) for p in sc.get('ignore') or []]
    diffs, notes = [], []
    backoff_seen = any(e['v']['reason'] == 'BackOff' for e in new['events']) and any(e['v']['reason'] == 'BackOff' for e in ref['events'])
    skip = lambda s: any(p.search(s) for p in ign)
    def track(name, R, C):
        R = [e for e in R if not skip(name + ' ' + sv(e['v']))]; C = [e for e in C if not skip(name + ' ' + sv(e['v']))]
        # retry states are timing: take them out of both sequences, check only that the other side shows them too
        soft = [[(canon(e['v'], rt, opt.strict), e) for e in T if SOFTSTATES.search(json.dumps(e['v']))] for T in (R, C)]
        for k, e in soft[0]:
            if k not in {x for x, _ in soft[1]}:
                crash = 'CrashLoopBackOff' in k or 'ImagePullBackOff' in k
                (notes if crash and backoff_seen else diffs).append('missing %s: %s (t=%.1f)' % (name, sv(e['v']), e['t']))
        for k, e in soft[1]:
            if k not in {x for x, _ in soft[0]}:
                kind = re.search(r'[A-Za-z]*(BackOff|Err|Error|InvalidImageName)[A-Za-z]*', sv(e['v']))
                (notes if any(kind and kind.group(0) in x for x, _ in soft[0]) or backoff_seen else diffs).append('extra   %s: %s (t=%.1f)' % (name, sv(e['v']), e['t']))
        def strip(T):
            out = []
            for e in T:
                if SOFTSTATES.search(json.dumps(e['v'])) and len(T) > 1: continue
                if not out or out[-1]['v'] != e['v']: out.append(e)
            return out
        R, C = strip(R), strip(C)
        rd, cd = durations(R, ref['end']), durations(C, new['end'])
        rk, ck = [canon(e['v'], rt, opt.strict) for e in R], [canon(e['v'], rt, opt.strict) for e in C]
        # if the lasting states agree, short ones in between are only notes
        def hard(T, D, K):
            out = []
            for e, du, k in zip(T, D, K):
                if du >= SOFT and (not out or out[-1][1] != k): out.append((e, k))
            return out
        hr, hc = hard(R, rd, rk), hard(C, cd, ck)
        if rk != ck and [k for _, k in hr] == [k for _, k in hc]:
            notes.append('%s: short states differ: %s | reference %s' % (name, [sv(e['v'])[:60] for e in C], [sv(e['v'])[:60] for e in R]))
            R, C = [e for e, _ in hr], [e for e, _ in hc]; rk, ck = [k for _, k in hr], [k for _, k in hc]; rd, cd = durations(R, ref['end']), durations(C, new['end'])
        for tag, a, b, c, d in difflib.SequenceMatcher(None, rk, ck, autojunk=False).get_opcodes():
            if tag == 'equal':
                for i, j in zip(range(a, b), range(c, d)):
                    r, n = R[i]['t'] - base_of(ref, R[i]['t']), C[j]['t'] - base_of(new, C[j]['t'])
                    if rd[i] < SOFT and len(R) > i + 1: continue
                    tol = max(2.5, 0.25 * r) * opt.time_scale + float(sc.get('slack', 0))
                    if n - r > tol or r - n > earlier(r, opt): diffs.append('time   %s: %s at +%.1fs, reference +%.1fs' % (name, sv(R[i]['v'])[:110], n, r))
                continue
            rows = [('missing', R[i], rd[i]) for i in range(a, b)] + [('extra', C[j], cd[j]) for j in range(c, d)]
            for w, e, du in rows:
                (notes if du < SOFT else diffs).append('%-7s %s: %s (t=%.1f, %s)' % (w, name, sv(e['v']), e['t'], 'to the end' if du > 900 else 'for %.1fs' % du))
    for k in ('phase', 'podReason', 'row', 'meta'): track(k, ref[k], new[k])
    for k in sorted(set(ref['conditions']) | set(new['conditions'])): track('condition ' + k, ref['conditions'].get(k, []), new['conditions'].get(k, []))
    for k in sorted(set(ref['containers']) | set(new['containers'])): track('container ' + k, ref['containers'].get(k, []), new['containers'].get(k, []))
    # events: presence, count
    def evmap(tr): 
        m = {}
        for e in tr['events']:
            if skip('event ' + sv(e['v'])): continue
            k = canon(e['v'], rt, opt.strict)
            if k in m: m[k]['count'] += e['count']
            else: m[k] = dict(e)
        return m
    re_, ne = evmap(ref), evmap(new)
    for k, e in re_.items():
        lab = '%(type)s %(reason)s %(field)s "%(msg)s"' % e['v']
        if k not in ne: diffs.append('missing event: %s x%d (t=%.1f)' % (lab, e['count'], e['t']))
        else:
            tol = max(3, 0.7 * e['count']) if e['v']['reason'] in ('BackOff', 'Failed', 'Pulling', 'Pulled', 'InspectFailed', 'FailedMount', 'DeadlineExceeded', 'ErrImageNeverPull') else max(1, 0.34 * e['count'])
            if abs(e['count'] - ne[k]['count']) > tol: diffs.append('event count: %s x%d, reference x%d' % (lab, ne[k]['count'], e['count']))
            r, n = e['t'] - base_of(ref, e['t']), ne[k]['t'] - base_of(new, ne[k]['t'])
            if abs(r - n) > max(3, 0.3 * r) * opt.time_scale + float(sc.get('slack', 0)): diffs.append('time   event %s at +%.1fs, reference +%.1fs' % (lab[:110], n, r))
    for k, e in ne.items():
        if k not in re_: diffs.append('extra event: %(type)s %(reason)s %(field)s "%(msg)s"' % e['v'])
    # logs: per container instance text and time
    def lm(tr):
        m = {}
        for l in tr['logs']:
            if not skip('log %s: %s' % (l['c'], l['v'])): m.setdefault('%s/%d' % (l['c'], l['n']), []).append(l)
        return m
    rl, nl = lm(ref), lm(new)
    for k in sorted(set(rl) | set(nl)):
        a, b = [canon(l['v'], rt, opt.strict) for l in rl.get(k, [])], [canon(l['v'], rt, opt.strict) for l in nl.get(k, [])]
        if a != b:
            d = [x for x in difflib.unified_diff(a, b, lineterm='', n=0) if not x.startswith(('---', '+++', '@@'))]
            diffs.append('log %s: %s' % (k, ' ; '.join(d[:6])[:600]))
        for x, y in zip(rl.get(k, []), nl.get(k, [])):
            if x['v'] != y['v']: break
            r, n = x['t'] - base_of(ref, x['t']), y['t'] - base_of(new, y['t'])
            if n - r > max(2.5, 0.2 * r) * opt.time_scale + float(sc.get('slack', 0)) or r - n > earlier(r, opt): diffs.append('time   log %s "%s" at +%.1fs, reference +%.1fs' % (k, x['v'][:60], n, r)); break
    # order of milestones across containers
    def miles(tr):
        m = {}
        for l in tr['logs']:
            if not skip('log %s: %s' % (l['c'], l['v'])): m.setdefault('log %s/%d %s' % (l['c'], l['n'], l['v'][:60]), l['t'])
        for c, tk in tr['containers'].items():
            for e in tk: m.setdefault('%s %s%s #%d' % (c, e['v']['s'], ' ' + e['v'].get('reason', '') if e['v'].get('reason') else '', e['v']['restarts']), e['t'])
        for e in tr['phase']: m.setdefault('phase ' + str(e['v']), e['t'])
        for e in tr['events']: m.setdefault('event %(reason)s %(field)s' % e['v'], e['t'])
        return m
    rm, nm = miles(ref), miles(new); ks = sorted((k for k in rm if k in nm), key=rm.get); bad = 0
    for i, a in enumerate(ks):
        for b in ks[i + 1:]:
            if rm[b] - rm[a] > ORDER_GAP and nm[a] > nm[b] + 0.3:
                bad += 1
                if bad <= 6: diffs.append('order  "%s" before "%s" in the reference, after it here (%.1f/%.1f vs %.1f/%.1f)' % (a, b, rm[a], rm[b], nm[a], nm[b]))
    if bad > 6: diffs.append('order  … %d more inversions' % (bad - 6))
    # checks
    rc, nc = {}, {}
    for tr, m in ((ref, rc), (new, nc)):
        for c in tr['checks']:
            n = c['name']; i = 2
            while n in m: n = '%s#%d' % (c['name'], i); i += 1
            m[n] = c['v']
    for k in sorted(set(rc) | set(nc)):
        if skip('check ' + k): continue
        a, b = rc.get(k), nc.get(k)
        if isinstance(b, dict) and b.get('skipped'): notes.append('check %s skipped: %s' % (k, b['skipped'])); continue
        if canon(a, rt, opt.strict) != canon(b, rt, opt.strict): diffs.append('check %s:\n      here      %s\n      reference %s' % (k, json.dumps(b)[:700], json.dumps(a)[:700]))
    if ref['result'] != new['result']: diffs.insert(0, 'result %s, reference %s' % (new['result'], ref['result']))
    return diffs, notes

# ------------------------------------------------------------------ command line
def load(path):
    sc = yaml.safe_load(open(path)); sc['id'] = os.path.basename(path).rsplit('.', 1)[0]; sc['path'] = path; return sc
def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument('mode', choices=['run', 'record', 'compare', 'show', 'diff', 'list']); ap.add_argument('names', nargs='*')
    ap.add_argument('--kubeconfig', default=os.environ.get('KUBECONFIG')); ap.add_argument('--dir', default=os.path.join(here, 'scenarios'))
    ap.add_argument('--parallel', type=int, default=3); ap.add_argument('--busybox', default=os.environ.get('PODTRACE_BUSYBOX', 'registry.k8s.io/e2e-test-images/busybox:1.37.0-1'))
    ap.add_argument('--agnhost', default=os.environ.get('PODTRACE_AGNHOST', 'registry.k8s.io/e2e-test-images/agnhost:2.63.0')); ap.add_argument('--kubectl', default=os.environ.get('PODTRACE_KUBECTL', 'kubectl'))
    ap.add_argument('--out'); ap.add_argument('--raw'); ap.add_argument('--time-scale', type=float, default=1.0); ap.add_argument('--strict', action='store_true')
    ap.add_argument('--notes', action='store_true', help='also print soft differences'); ap.add_argument('--keep', action='store_true'); ap.add_argument('--verbose', action='store_true'); ap.add_argument('--wide', action='store_true'); ap.add_argument('--quiet', action='store_true')
    opt = ap.parse_intermixed_args()
    if opt.mode == 'diff':
        r, n = (json.load(open(f)) for f in opt.names); sp = os.path.join(opt.dir, r['scenario'] + '.yaml')
        d, s = compare(r, n, load(sp) if os.path.exists(sp) else {}, opt); print('\n'.join(d + (['note ' + x for x in s] if opt.notes else [])) or 'no difference'); sys.exit(1 if d else 0)
    files = []
    for n in opt.names or ['*']:
        m = [n] if os.path.isfile(n) else sorted(glob.glob(os.path.join(opt.dir, n + '.yaml'))) or sorted(glob.glob(os.path.join(opt.dir, n + '-*.yaml')))
        if not m: print('no scenario', n, file=sys.stderr)
        files += m
    scs = [load(f) for f in dict.fromkeys(files)]
    if opt.mode == 'list':
        for s in scs: print('%-34s %s' % (s['id'], s.get('title', '')))
        return
    tp = lambda s: s['path'].rsplit('.', 1)[0] + '.trace.json'
    if opt.mode == 'show':
        for s in scs:
            if os.path.exists(tp(s)): show(json.load(open(tp(s))), width=0 if opt.wide else 230)
        return
    if not opt.kubeconfig: sys.exit('--kubeconfig needed')
    cl = Cluster(opt.kubeconfig); bad = 0
    def one(s):
        for n in range(3):
            try: return s, Run(cl, s, opt).go()
            except (OSError, http.client.HTTPException) as x: err = x; time.sleep(1)
        raise err
    scs.sort(key=lambda s: -s.get('timeout', 60))
    with cf.ThreadPoolExecutor(opt.parallel) as ex:
        for f in cf.as_completed([ex.submit(one, s) for s in scs]):
            try: s, tr = f.result()
            except Exception as x: print('!! ', repr(x)); bad += 1; continue
            if opt.out: os.makedirs(opt.out, exist_ok=True); json.dump(tr, open(os.path.join(opt.out, s['id'] + '.trace.json'), 'w'), indent=1, ensure_ascii=False)
            if opt.mode == 'record':
                json.dump(tr, open(tp(s), 'w'), indent=1, ensure_ascii=False)
            if opt.mode == 'compare':
                if not os.path.exists(tp(s)): print('?    %s: no reference trace' % s['id']); continue
                d, notes = compare(json.load(open(tp(s))), tr, s, opt)
                meant = [x for x in d if any(re.search(p, x) for p in s.get('allowed') or [])]; d = [x for x in d if x not in meant]; bad += bool(d)
                print('%s %s %s' % ('DIFF' if d else 'same', s['id'], s.get('title', '')))
                for x in d: print('    ' + x)
                if d and s.get('quirk'): print('    quirk: ' + s['quirk'])
                if meant: print('    on purpose, %d differences: %s' % (len(meant), s.get('quirk')))
                if opt.notes:
                    for x in notes: print('    note ' + x)
            elif opt.quiet: print('%s %s %.1fs' % (s['id'], tr['result'], tr['end']))
            else: show(tr, width=0 if opt.wide else 230)
            sys.stdout.flush()
    if opt.mode == 'compare': print('%d scenarios, %d with differences' % (len(scs), bad)); sys.exit(min(bad, 100))
if __name__ == '__main__': main()

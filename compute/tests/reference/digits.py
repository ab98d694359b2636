"""An independent check of the three tiers of attribution, in numpy and double precision.

    cargo run --release -p openledger-compute --example lds -- --reference digits.json
    python3 compute/tests/reference/digits.py digits.json

Shares no code with the crate. The run is repeated from its start; second derivatives are exact
(forward-over-reverse) where the crate takes differences; the Fisher matrix sums over all classes where
the crate draws one. Exits non-zero unless every figure is within its tolerance.
"""
import json
import sys

import numpy as np

D = json.load(open(sys.argv[1]))
X = np.array(D["images"])
Y = np.array(D["labels"])
OWNERS = np.array(D["owners"])
N, C = len(OWNERS), max(D["owners"]) + 1
R = D["recipe"]
MOMENTUM = R["optimizer"]["sgd-momentum"]["momentum_ppm"] / 1e6
H, P, K = 32, 65, 10


def split(theta):
    return theta[: H * P].reshape(H, P), theta[H * P :].reshape(K, H + 1)


def forward(theta, x):
    w1, w2 = split(theta)
    hidden = np.tanh(x @ w1.T)
    h = np.concatenate([hidden, np.ones((len(x), 1))], 1)
    logits = h @ w2.T
    e = np.exp(logits - logits.max(1, keepdims=True))
    return hidden, h, e / e.sum(1, keepdims=True)


def output_gradients(theta, x, y, weight=1.0):
    """Inputs and output gradients of both linear maps, for labels or distributions over them."""
    _, w2 = split(theta)
    hidden, h, p = forward(theta, x)
    d2 = (p - np.eye(K)[y]) * weight
    d1 = (d2 @ w2[:, :H]) * (1 - hidden**2)
    return (x, d1), (h, d2)


def gradient(theta, x, y, weight):
    (x1, d1), (x2, d2) = output_gradients(theta, x, y, weight)
    return np.concatenate([(d1.T @ x1).ravel(), (d2.T @ x2).ravel()])


def hessian_product(theta, v, x, y, weight):
    """Derivative of `gradient` along v."""
    (w1, w2), (v1, v2) = split(theta), split(v)
    hidden, h, p = forward(theta, x)
    r_hidden = (x @ v1.T) * (1 - hidden**2)
    r_h = np.concatenate([r_hidden, np.zeros((len(x), 1))], 1)
    r_logits = r_h @ w2.T + h @ v2.T
    r_p = p * (r_logits - (p * r_logits).sum(1, keepdims=True))
    d2, r_d2 = (p - np.eye(K)[y]) * weight, r_p * weight
    back, r_back = d2 @ w2[:, :H], r_d2 @ w2[:, :H] + d2 @ v2[:, :H]
    r_d1 = r_back * (1 - hidden**2) - back * 2 * hidden * r_hidden
    return np.concatenate([(r_d1.T @ x).ravel(), (r_d2.T @ h + d2.T @ r_h).ravel()])


def rate(step):
    full, warmup = R["learning_rate_ppm"] / 1e6, R["warmup"]
    if step < warmup:
        return full * (step + 1) / warmup
    return full * (0.55 + 0.45 * np.cos((step - warmup) / max(R["steps"] - warmup, 1) * np.pi))


def by_contributor(scores):
    return np.stack([scores[:, OWNERS == c].sum(1) for c in range(C)], 1)


def correlation(a, b):
    return np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b)])


assert R["decay_ppm"] == 0 and R["clip_milli"] == 0, "this check knows neither decay nor clipping"
theta, m = np.array(D["start"]), 0.0
states = []
for step, batch in enumerate(D["order"]):
    states.append(theta)
    m = MOMENTUM * m + gradient(theta, X[batch], Y[batch], 1 / len(batch))
    theta = theta - rate(step) * m
drift = np.abs(theta - D["end"]).max()

queries = range(N, len(X))
pairs = output_gradients(theta, X[:N], Y[:N])
of_query = output_gradients(theta, X[N:], Y[N:])

# Tier 1: projected gradients, damped Fisher matrix of the sketches, no rounding.
t1 = 0
for (x, d), (qx, qd), (p_in, p_out) in zip(pairs, of_query, D["signs"]):
    side = D["tuning"]["side"]
    p_in, p_out = np.array(p_in).reshape(-1, side), np.array(p_out).reshape(-1, side)
    sketch = lambda x, d: np.einsum("ni,no->nio", x @ p_in, d @ p_out).reshape(len(x), -1)
    s, q = sketch(x, d), sketch(qx, qd)
    fisher = s.T @ s / N
    damping = D["tuning"]["sketch_ppm"] / 1e6 * np.trace(fisher) / len(fisher)
    t1 = t1 + np.linalg.solve(fisher + damping * np.eye(len(fisher)), q.T).T @ s.T

# Tier 2: EK-FAC, the Fisher matrix summed over all classes.
prob = forward(theta, X[:N])[2]
classes = [output_gradients(theta, X[:N], np.full(N, k)) for k in range(K)]
t2 = 0
for layer, ((x, d), (qx, qd)) in enumerate(zip(pairs, of_query)):
    a = x.T @ x
    s = sum((classes[k][layer][1] * prob[:, [k]]).T @ classes[k][layer][1] for k in range(K))
    ua, us = np.linalg.eigh(a)[1], np.linalg.eigh(s)[1]
    squares = sum(
        ((classes[k][layer][1] @ us) ** 2 * prob[:, [k]]).T @ (x @ ua) ** 2 for k in range(K)
    ) / N
    damping = D["tuning"]["ekfac_ppm"] / 1e6 * squares.mean()
    for_query = np.einsum("qo,qi->qoi", qd @ us, qx @ ua) / (squares + damping)
    part = np.einsum("qoi,no,ni->qn", for_query, d @ us, x @ ua, optimize=True)
    t2 = t2 + part

# Tier 3: the adjoint of the run.
t3 = []
for query in queries:
    a = gradient(theta, X[[query]], Y[[query]], 1.0)
    b, scores = np.zeros_like(a), np.zeros(N)
    for step in reversed(range(len(states))):
        batch = D["order"][step]
        v = b - rate(step) * a
        (x1, d1), (x2, d2) = output_gradients(states[step], X[batch], Y[batch])
        v1, v2 = split(v)
        products = ((x1 @ v1.T) * d1).sum(1) + ((x2 @ v2.T) * d2).sum(1)
        np.add.at(scores, batch, -products / len(batch))
        a = a + hessian_product(states[step], v, X[batch], Y[batch], 1 / len(batch))
        b = MOMENTUM * v
    t3.append(scores)

checks = [
    ("largest difference of a trained parameter", drift, 1e-4, drift < 1e-4),
]
for name, own, least in [("t1", t1, 0.999), ("t2", t2, 0.97), ("t3", np.array(t3), 0.999)]:
    found = correlation(by_contributor(own), np.array(D[name]))
    checks.append((f"{name}: mean correlation over queries", found, least, found >= least))
for name, found, bound, fine in checks:
    print(f"{name:45} {found:.6g} (bound {bound}) {'ok' if fine else 'FAILED'}")
sys.exit(not all(fine for *_, fine in checks))

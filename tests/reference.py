"""Loop-form NumPy versions of the equations, written from the papers and not from our code."""

import numpy as np


def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def softmax(scores):
    """Over a list of scores; nothing for an empty list."""
    if len(scores) == 0:
        return []
    powers = [np.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def gru(inputs, kernel, recurrent, bias):
    """The states [T][U] of a GRU over inputs [T][D]; Keras' gate order z, r, h and reset_after.

    z = sigmoid(W_z x + U_z h + b); r likewise; c = tanh(W_h x + b + r * (U_h h + b'));
    h' = z h + (1 - z) c.
    """
    units = recurrent.shape[0]
    state, states = np.zeros(units), []
    for x in inputs:
        from_input, from_state = x @ kernel + bias[0], state @ recurrent + bias[1]
        update = sigmoid(from_input[:units] + from_state[:units])
        reset = sigmoid(from_input[units : 2 * units] + from_state[units : 2 * units])
        candidate = np.tanh(from_input[2 * units :] + reset * from_state[2 * units :])
        state = update * state + (1 - update) * candidate
        states.append(state)
    return states


def lstm(inputs, kernel, recurrent, bias):
    """The states [T][U] of an LSTM over inputs [T][D]; Keras' gate order i, f, c, o.

    c' = sigmoid(f) c + sigmoid(i) tanh(g); h' = sigmoid(o) tanh(c'), all from W x + U h + b.
    """
    units = recurrent.shape[0]
    state, cell, states = np.zeros(units), np.zeros(units), []
    for x in inputs:
        i, f, g, o = np.split(x @ kernel + state @ recurrent + bias, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        states.append(state)
    return states


def bidirectional_gru(inputs, weights):
    """[forward ; backward] states; weights: kernel, recurrent, bias of each direction."""
    forward = gru(inputs, *weights[:3])
    backward = gru(inputs[::-1], *weights[3:])[::-1]
    return [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]


def attention_pooling(states, w, b, v, u=None, context=None):
    """sum_n softmax(v^T tanh(W h_n + b [+ U a])) h_n over a list of real states."""
    scores = []
    for state in states:
        hidden = state @ w + b
        if context is not None:
            hidden = hidden + context @ u
        scores.append(float(np.tanh(hidden) @ v[:, 0]))
    pooled = 0
    for weight, state in zip(softmax(scores), states, strict=True):
        pooled = pooled + weight * state
    return pooled


def region_attention(words, regions, product=False):
    """[x ; c] or [x ; c ; x * c] for each word x, c = sum_r softmax_r(x . r / sqrt(D)) r."""
    joined = []
    for word in words:
        weights = softmax([word @ region / np.sqrt(len(word)) for region in regions])
        context = sum(weight * region for weight, region in zip(weights, regions, strict=True))
        joined.append(np.concatenate([word, context] + [word * context] * product))
    return joined


def word_vector(word_id, ngram_ids, table, unknown, ngrams):
    """A word's vector: of the table, or for id 1 the mean of its n-grams' or the unknown one."""
    if word_id != 1:
        return table[word_id]
    real = [ngrams[ngram] for ngram in ngram_ids if ngram != 0]
    return sum(real) / len(real) if real else unknown


def text_embedding(pair, regions, mode, weights, product=False):
    """The text embedding of one pair.

    Args:
        pair: its sentences, each a list of word vectors [D]; no padding.
        regions: A as a list of vectors [D].
        mode: "context", "regions", "prepend" or "none".
        weights: dict of lists of arrays: word_gru, word_attention, sentence_gru,
            sentence_attention, the latter two as (W, b, v[, U]).
        product: of `region_attention`.
    """
    context = sum(regions) / len(regions)
    asked = context if mode == "context" else None

    def attend(states, name):
        w, b, v, *u = weights[name]
        return attention_pooling(states, w, b, v, u[0] if u else None, asked)

    sentences = []
    for words in pair:
        if mode == "regions":
            words = region_attention(words, regions, product)
        if mode == "prepend":
            words = [context, *words]
        sentences.append(attend(bidirectional_gru(words, weights["word_gru"]), "word_attention"))
    states = bidirectional_gru(sentences, weights["sentence_gru"])
    return attend(states, "sentence_attention")


def fully_connected(x, weights):
    """ReLU after each layer but the last; weights: pairs of kernel and bias."""
    for kernel, bias in weights[:-1]:
        x = np.maximum(x @ kernel + bias, 0)
    kernel, bias = weights[-1]
    return x @ kernel + bias


def rmac_regions(height, width, levels):
    """(x, y, w, h) of R-MAC's regions, line by line as Tolias' MATLAB function has it."""
    short = min(width, height)
    best, extra = None, None
    for steps in range(2, 8):
        b = (max(width, height) - short) / (steps - 1)
        distance = abs((short**2 - short * b) / short**2 - 0.4)
        if best is None or distance < best:
            best, extra = distance, steps - 1
    more_x = extra if height < width else 0
    more_y = extra if height > width else 0
    regions = []
    for level in range(1, levels + 1):
        side = int(np.floor(2 * short / (level + 1)))
        half = np.floor(side / 2 - 1)
        bx = (width - side) / (level + more_x - 1) if level + more_x > 1 else 0
        by = (height - side) / (level + more_y - 1) if level + more_y > 1 else 0
        for j in range(level + more_y):
            for i in range(level + more_x):
                x, y = int(np.floor(half + i * bx) - half), int(np.floor(half + j * by) - half)
                if side > 0:
                    regions.append((x, y, side, side))
    return regions


def unit(vector):
    """A vector over its length; zeros stay zeros."""
    length = np.sqrt(np.sum(np.square(vector)))
    return vector / length if length > 0 else vector


def rmac(features, levels, mean, projection):
    """The R-MAC descriptor of one map [H, W, C]: max, l2, (x - mean) P, l2, sum, l2."""
    total = 0
    for x, y, w, h in rmac_regions(*features.shape[:2], levels):
        region = np.array(
            [max(features[i, j, c] for i in range(y, y + h) for j in range(x, x + w))
             for c in range(features.shape[2])]
        )  # fmt: skip
        total = total + unit((unit(region) - mean) @ projection) if np.any(region) else total
    return unit(total)


def ranking_loss(query, positive, negative, margin):
    """1/2 max(0, m - q . + + q . -) of three vectors."""
    return 0.5 * max(0.0, margin - float(np.dot(query, positive)) + float(np.dot(query, negative)))


def hardest_triplets(scores, pool, positives, neighbours, *, margin, keep):
    """[((q, +, -), loss), ...]: for each query and relevant image its `keep` largest losses.

    Args:
        scores: list of (weight, [Q, P] products).
        pool: the images of the pool, queries first.
        positives: [Q, n] places in the pool.
        neighbours: [N, k] relevant images of each image.
        margin: m.
        keep: triplets a pair.
    """
    found = []
    for query in range(len(positives)):
        relevant = set(neighbours[pool[query]].tolist()) | {int(pool[query])}
        for positive in positives[query]:
            losses = []
            for place, image in enumerate(pool.tolist()):
                if image in relevant:
                    continue
                loss = 0.0
                for weight, values in scores:
                    near, far = float(values[query, positive]), float(values[query, place])
                    loss += weight * 0.5 * max(0.0, margin - near + far)
                losses.append((-loss, place))
            for negative_loss, place in sorted(losses)[:keep]:
                if negative_loss < 0:
                    found.append(((query, int(positive), place), -negative_loss))
    return found


def cosine(a, b):
    """a . b / (|a| |b|)."""
    return float(a @ b) / float(np.sqrt(a @ a) * np.sqrt(b @ b))


def query_probabilities(weights, x, scale=1.0):
    """Shah2019, Eq. 1: exp(-s d(w_c, x)) over the sum of all, d the cosine distance."""
    powers = [np.exp(-scale * (1 - cosine(w, x))) for w in weights]
    return [power / sum(powers) for power in powers]


def sampled_logits(weights, xs, labels, *, scale, drawn, draws, log_uniform, batch_counts):
    """[B, 1 + S]: true logit, then those of the distinct sample, less log of their chances.

    Args:
        weights: [N][D].
        xs: [B][D].
        labels: [B].
        scale: s.
        drawn: ids that the sampler drew, with repetitions.
        draws: how many draws it makes.
        log_uniform: whether it draws by Zipf's law, else uniformly.
        batch_counts: [N] frequencies where the batch's labels are in the sample, too; else None.
    """
    size = len(weights)
    pool = [] if batch_counts is None else list(labels)
    sample = list(dict.fromkeys([*pool, *drawn]))

    def chance(c):
        absent = 1.0
        if batch_counts is not None:
            absent *= (1 - batch_counts[c] / sum(batch_counts)) ** len(labels)
        if drawn:
            zipf = (np.log(c + 2) - np.log(c + 1)) / np.log(size + 1)
            absent *= (1 - (zipf if log_uniform else 1 / size)) ** draws
        return 1 - absent

    rows = []
    for x, label in zip(xs, labels, strict=True):
        row = [scale * cosine(weights[label], x) - np.log(chance(label))]
        for c in sample:
            logit = scale * cosine(weights[c], x) - np.log(chance(c))
            row.append(-1e9 if c == label else logit)
        rows.append(row)
    return np.array(rows)


def prototypes(embeddings, queries):
    """Shah2019, Eq. 2: query -> mean of its images' embeddings, each of length 1."""
    members = {}
    for x, own in zip(embeddings, queries, strict=True):
        for query in own:
            members.setdefault(query, []).append(x / np.sqrt(x @ x))
    return {query: sum(rows) / len(rows) for query, rows in members.items()}


def adam_step(weight, first, second, gradient, step, rate):
    """Kingma and Ba's update of one number: (weight, first, second)."""
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    rate *= np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    return weight - rate * first / (np.sqrt(second) + 1e-7), first, second


def mlb(a, b, u, u_bias, v, v_bias, p, p_bias):
    """Kim et al. 2017 for one pair: P (tanh(U a) * tanh(V b)) + p."""
    common = np.tanh(a @ u + u_bias) * np.tanh(b @ v + v_bias)
    return common @ p + p_bias


def mutan(a, b, of_a, of_b, core_a, core_b, *, rank):
    """Ben-Younes et al. 2017 for one pair: the sum of `rank` products; parts are (kernel, bias)."""
    a = np.tanh(a @ of_a[0] + of_a[1])
    b = np.tanh(b @ of_b[0] + of_b[1])
    units = core_a[0].shape[1] // rank
    total = np.zeros(units)
    for r in range(rank):
        part = slice(r * units, (r + 1) * units)
        left = a @ core_a[0][:, part] + core_a[1][part]
        total += left * (b @ core_b[0][:, part] + core_b[1][part])
    return total


def verified_cross_entropy(labels, logits):
    """The mean over a photo's verified labels of -log of the probability of what was verified."""
    losses = []
    for label, logit in zip(labels, logits, strict=True):
        if label >= 0:
            probability = sigmoid(logit)
            losses.append(-np.log(probability if label == 1 else 1 - probability))
    return sum(losses) / len(losses) if losses else 0.0

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

import numpy as np


def f1(y_pred, y_true):
    tp = np.sum((y_pred == 1) & (y_true == 1))
    return 2 * tp / max(np.sum(y_pred == 1) + np.sum(y_true == 1), 1)


def balanced_accuracy(y_pred, y_true):
    return np.mean([np.mean(y_pred[y_true == c] == c) for c in np.unique(y_true)])

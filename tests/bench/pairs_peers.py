"""Three detectors that are in common use, written plainly, each with its usual automatic threshold.

They compare as many bands as both images have; bands are standardised, as is usual where the images differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.stats import chi2
from skimage import filters
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

Array = NDArray[np.float32]

threshold_otsu: Any = filters.threshold_otsu  # published without full type information


def _standard(image: Array) -> Array:
    spread = np.maximum(image.std(axis=(1, 2), keepdims=True), 1e-9)
    return np.asarray((image - image.mean(axis=(1, 2), keepdims=True)) / spread, np.float32)


def _difference(before: Array, after: Array) -> Array:
    n = min(len(before), len(after))
    return _standard(after[:n]) - _standard(before[:n])


def cva(before: Array, after: Array) -> NDArray[np.bool_]:
    """Change vector analysis (Malila 1980) with Otsu's threshold."""
    strength = np.sqrt((_difference(before, after) ** 2).sum(axis=0))
    return np.asarray(strength > threshold_otsu(strength))


def ir_mad(before: Array, after: Array) -> NDArray[np.bool_]:
    """Iteratively reweighted MAD (Nielsen 2007), k-means of two classes on the root of the chi-square sum."""
    x, y = before.reshape(len(before), -1).astype(np.float64), after.reshape(len(after), -1).astype(np.float64)
    p, q = len(x), len(y)
    k = min(p, q)
    weight = np.ones(x.shape[1])
    total = weight
    for _ in range(50):
        z = np.concatenate([x, y])
        centre = (z * weight).sum(axis=1, keepdims=True) / weight.sum()
        s = ((z - centre) * weight) @ (z - centre).T / weight.sum()
        s += np.eye(p + q) * 1e-6 * np.trace(s) / (p + q)
        sxy = s[:p, p:]
        value, a = linalg.eigh(sxy @ linalg.solve(s[p:, p:], sxy.T), s[:p, :p])
        a = a[:, ::-1][:, :k]
        rho = np.sqrt(np.clip(value[::-1][:k], 1e-12, 1 - 1e-9))
        b = linalg.solve(s[p:, p:], sxy.T @ a) / rho
        mads = a.T @ (x - centre[:p]) - b.T @ (y - centre[p:])
        total = ((mads**2).T / (2 * (1 - rho))).sum(axis=1)
        new = chi2.sf(total, k)
        if np.abs(new - weight).max() < 1e-3:
            break
        weight = np.maximum(new, 1e-12)
    strength = np.sqrt(total)[:, None]
    groups = KMeans(2, n_init=2, random_state=0).fit(strength)
    return np.asarray(groups.labels_ == groups.cluster_centers_.argmax()).reshape(before.shape[1:])


def pca_k_means(before: Array, after: Array, side: int = 5) -> NDArray[np.bool_]:
    """Principal components of blocks of the difference, k-means of two classes (Celik 2009)."""
    difference = np.sqrt((_difference(before, after) ** 2).sum(axis=0))
    padded = np.pad(difference, side // 2, mode="reflect")
    blocks = np.lib.stride_tricks.sliding_window_view(padded, (side, side)).reshape(difference.size, -1)
    parts = PCA(3, random_state=0).fit_transform(blocks)
    groups = KMeans(2, n_init=2, random_state=0).fit_predict(parts)
    means = [difference.ravel()[groups == g].mean() for g in (0, 1)]
    return np.asarray(groups == int(np.argmax(means))).reshape(difference.shape)


PEERS: Mapping[str, Callable[[Array, Array], NDArray[np.bool_]]] = {
    "CVA": cva,
    "IR-MAD": ir_mad,
    "PCA-k-means": pca_k_means,
}

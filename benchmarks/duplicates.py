"""Time, memory and recall of the near-duplicate search, and how they grow.

    python -m benchmarks.duplicates [--hashes 0.25 0.5 1 2 4] [--embeddings 0.25 0.5 1] [--plot duplicates.png]

Sizes are in millions. Hashes are uniform 64-bit numbers, of which 5 % are copies with 0 to 4 bits changed; embeddings
are 128 numbers wide, uniform on the sphere (the hardest case for cells: no structure to find), of which 2 % are copies
with a cosine drawn evenly from 0.97 to 1. Every size runs in a process of its own, alone, and peak memory is that of
the whole process. Recall is the share of planted pairs that are found. The binary indexes of faiss run beside the
search for hashes, on the smallest size: all pairs are asked of a part of the queries, and the time is scaled up.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus.duplicates.embedding_search import similar_pairs
from training.corpus.duplicates.hash_search import near_pairs

BITS = 4  # the default of training.deduplicate
COSINE = 0.97
WIDTH = 128
QUERIES = 20_000  # asked of the indexes of faiss


def planted_hashes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes uint64 (N,) and the planted pairs int64 (P, 2)."""
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, count, dtype=np.uint64)
    chosen = generator.permutation(count)[: 2 * (count // 20)].reshape(2, -1)
    changes = np.zeros(chosen.shape[1], np.uint64)
    for _ in range(BITS):  # a bit that is drawn twice changes back: 0 to 4 bits differ
        changes ^= np.uint64(1) << generator.integers(0, 64, len(changes), dtype=np.uint64)
    hashes[chosen[1]] = hashes[chosen[0]] ^ changes
    return hashes, chosen.T


def planted_embeddings(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32 (N, 128) and the planted pairs int64 (P, 2)."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((count, WIDTH), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = generator.permutation(count)[: 2 * (count // 50)].reshape(2, -1)
    cosines = generator.uniform(COSINE + 1e-4, 1, (chosen.shape[1], 1)).astype(np.float32)
    originals, aside = vectors[chosen[0]], vectors[chosen[1]]
    aside = aside - (aside * originals).sum(1, keepdims=True) * originals
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    vectors[chosen[1]] = cosines * originals + np.sqrt(1 - cosines**2) * aside
    return vectors, chosen.T


def search(kind: str, count: int) -> dict[str, Any]:
    """Run one search in this process."""
    data, planted = planted_hashes(count) if kind == "hashes" else planted_embeddings(count)
    start, processor = time.perf_counter(), time.process_time()
    if kind == "hashes":
        parts = [(first, second) for first, second, _ in near_pairs(data, BITS)]
        first, second = (np.concatenate(column) for column in zip(*parts, strict=True))
    else:
        first, second, _ = similar_pairs(data, np.arange(count), COSINE)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    found = np.isin(_keys(planted.min(axis=1), planted.max(axis=1), count), _keys(first, second, count))
    return {
        "kind": kind,
        "count": count,
        "seconds": seconds,
        "processor": processor,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "pairs": len(first),
        "recall": float(found.mean()),
    }


def faiss_search(kind: str, count: int) -> dict[str, Any]:
    """Ask a binary index of faiss for the neighbors of some hashes, and scale the time up to all of them."""
    import faiss

    hashes, _ = planted_hashes(count)
    codes = hashes.view(np.uint8).reshape(-1, 8)
    start = time.process_time()
    if kind == "IndexBinaryFlat":
        index = faiss.IndexBinaryFlat(64)
    else:  # three keys of 21 bits, one bit of each flipped in turn: exact up to 5 bits
        index = faiss.IndexBinaryMultiHash(64, 3, 21)
        index.nflip = 1
    index.add(codes)
    built = time.process_time() - start
    queries = min(QUERIES if kind != "IndexBinaryFlat" else QUERIES // 20, count)
    start = time.process_time()
    index.range_search(codes[:queries], BITS + 1)
    searched = (time.process_time() - start) * count / queries
    return {"kind": kind, "count": count, "processor": built + searched}


def exponent(results: list[dict[str, Any]]) -> float:
    """Slope of log(processor time) over log(N): 1 is linear, 2 is all against all."""
    counts, times = ([result[name] for result in results] for name in ("count", "processor"))
    return float(np.polyfit(np.log(counts), np.log(times), 1)[0])


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Processor time over N on logarithmic axes, with the fitted exponents."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for kind in dict.fromkeys(result["kind"] for result in results):
        mine = [result for result in results if result["kind"] == kind]
        counts = [result["count"] / 1e6 for result in mine]
        label = f"{kind}: N^{exponent(mine):.2f}" if len(mine) > 1 else kind
        axes.plot(counts, [result["processor"] for result in mine], marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="millions", ylabel="processor seconds")
    counts = sorted({result["count"] / 1e6 for result in results})
    axes.set_xticks(counts, [f"{count:g}" for count in counts])
    axes.set_xticks([], minor=True)
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def table(results: list[dict[str, Any]], beside: list[dict[str, Any]]) -> str:
    """All results as Markdown."""
    lines = ["| | N (millions) | wall s | processor s | peak GB | pairs | recall of planted |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for result in results:
        lines.append(
            f"| {result['kind']} | {result['count'] / 1e6:g} | {result['seconds']:.1f} | {result['processor']:.1f} | "
            f"{result['peak_gb']:.2f} | {result['pairs']} | {result['recall']:.4f} |"
        )
    for result in beside:
        lines.append(f"| faiss {result['kind']} | {result['count'] / 1e6:g} | | {result['processor']:.0f} | | | |")
    return "\n".join(lines)


def _keys(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    return first * np.int64(count) + second


def _in_a_process(function: str, kind: str, count: int) -> dict[str, Any]:
    code = (
        f"import json; from benchmarks.duplicates import {function}; print(json.dumps({function}({kind!r}, {count})))"
    )
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Run all sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hashes", type=float, nargs="*", default=[0.25, 0.5, 1, 2, 4], metavar="MILLIONS")
    parser.add_argument("--embeddings", type=float, nargs="*", default=[0.25, 0.5, 1], metavar="MILLIONS")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    options = parser.parse_args()
    jobs = [("hashes", millions) for millions in options.hashes]
    jobs += [("embeddings", millions) for millions in options.embeddings]
    results = [_in_a_process("search", kind, int(millions * 1e6)) for kind, millions in jobs]
    smallest = int(min(options.hashes, default=0) * 1e6)
    indexes = ("IndexBinaryMultiHash", "IndexBinaryFlat") if smallest else ()
    print(table(results, [_in_a_process("faiss_search", kind, smallest) for kind in indexes]))
    for kind in ("hashes", "embeddings"):
        mine = [result for result in results if result["kind"] == kind]
        if len(mine) > 1:
            print(f"{kind}: processor time grows with N^{exponent(mine):.2f}")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()

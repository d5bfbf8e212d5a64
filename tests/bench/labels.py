"""The table of accuracies by number of labels in the README: docstrings of unseen files, three seeds.

minillm demo --out runs/demo
python -m tests.bench.labels runs/demo/pretrained
"""

from __future__ import annotations

import argparse

from lessons.l12_pretraining import load_run
from lessons.l15_classification import few_labels
from lessons.parts.l15_label_curves import label_curves
from minillm import datasets


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a pretraining run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 800])
    args = parser.parse_args()
    body, tokenizer, _ = load_run(args.run)
    corpus = datasets.load("docstring-topics", seed=0)
    methods = ("full", "frozen", "scratch", "naive Bayes")
    measures = {how: few_labels(body, tokenizer, corpus, how, len(corpus.test)) for how in methods}
    label_curves(measures, args.sizes, seeds=(0, 1, 2))


if __name__ == "__main__":
    main()

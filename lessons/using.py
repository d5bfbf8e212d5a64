"""The commands of ``minillm`` that use runs: write, measure, plot."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minillm
from lessons import l12_pretraining, l15_classification, l16_label_to_words
from lessons.command import missing, one_line, report_labels, report_language, said_of_columns, table_of
from lessons.parts.l15_label_curves import subset
from minillm import datasets
from minillm.backend import get_backend
from minillm.generation import Sampling, generate, generate_tokens
from minillm.text import StreamingDecoder, Tokenizer
from minillm.training import RunError, evaluate_language, plot_curves, read_config, read_metrics
from minillm.training.baselines import label_baselines, text_baselines


def do_generate(arguments: argparse.Namespace) -> int:
    """Write texts."""
    get_backend(arguments.device)
    how = _sampling(arguments)
    model, tokenizer, config = l12_pretraining.load_run(arguments.run, arguments.device)
    prompts = arguments.prompt or ["The "]
    if arguments.label is not None:
        if arguments.prompt:
            raise ValueError("--prompt and --label: give one of them; a label begins the text itself")
        labels = config.get("labels")
        if not labels or config["kind"] != "generator":
            raise RunError(f"{arguments.run}: was not fine-tuned to write from a label; leave --label out")
        if arguments.label not in labels:
            raise ValueError(f"--label {arguments.label!r}: unknown; known labels are {', '.join(labels)}")
        prompts = [l16_label_to_words.label_words(arguments.label)]
    if any(not p for p in prompts):
        raise ValueError("--prompt: expected a text, got an empty one")
    rows = [tokenizer.encode(p) for p in prompts]
    generator = minillm.Generator().manual_seed(arguments.seed)
    if len(rows) == 1 and arguments.beams == 1:
        steps = generate_tokens(
            model, rows, arguments.max_new_tokens, how, generator=generator, use_cache=not arguments.no_cache
        )
        print(prompts[0] if arguments.label is None else "", end="", flush=True)
        for piece in _until(arguments.stop, _pieces(steps, tokenizer)):
            print(piece, end="", flush=True)
        print()
        return 0
    done = generate(
        model,
        rows,
        arguments.max_new_tokens,
        how,
        generator=generator,
        num_beams=arguments.beams,
        use_cache=not arguments.no_cache,
    )
    for prompt, row in zip(rows, done, strict=True):
        text = "".join(_until(arguments.stop, [tokenizer.decode(row[len(prompt) :])]))
        print((tokenizer.decode(prompt) if arguments.label is None else "") + text)
    return 0


def _sampling(arguments: argparse.Namespace) -> Sampling:
    """Return how tokens are drawn; refuse to be told so where the likeliest text is searched for."""
    names = ("temperature", "top_k", "top_p", "repetition_penalty")
    said = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if said and arguments.beams != 1:
        given = ", ".join("--" + name.replace("_", "-") for name in said)
        raise ValueError(f"--beams searches for the likeliest text and draws nothing; leave {given} out")
    return Sampling(**{"temperature": 0.8, **said})


def _pieces(steps: Iterable[list[int | None]], tokenizer: Tokenizer) -> Iterator[str]:
    """Decode one text while it is written."""
    decoder = StreamingDecoder(tokenizer)
    for (token,) in steps:
        if token is not None:
            yield decoder.push(token)
    yield decoder.flush()


def _until(stop: str | None, pieces: Iterable[str]) -> Iterator[str]:
    """Pass a text on, piece by piece, up to the text ``stop``; what may be its beginning is held back.

    >>> list(_until("END", ["a", "bE", "xEN", "Dc", "d"]))
    ['a', 'b', 'Ex', '']
    """
    held, stop = "", stop or ""
    for piece in pieces:
        held += piece
        if stop and stop in held:
            yield held[: held.index(stop)]
            return
        n = next((n for n in range(len(stop) - 1, 0, -1) if held.endswith(stop[:n])), 0)
        yield held[: len(held) - n]
        held = held[len(held) - n :]
    yield held


def do_evaluate(arguments: argparse.Namespace) -> int:
    """Measure a model."""
    get_backend(arguments.device)
    config = read_config(arguments.run)
    labels = config["kind"] == "classifier" or (config["kind"] == "generator" and arguments.text is None)
    if labels and arguments.text is not None:
        raise ValueError("--text: the run tells labels apart; give labelled texts with --data")
    if not labels and (arguments.data is not None or said_of_columns(arguments)):
        raise ValueError("--data, --text-column, --label-column: of a language model; give a text with --text alone")
    if labels:
        _evaluate_labels(arguments, config)
        return 0
    if arguments.text is None:
        _refuse_missing(arguments.run, config.get("text"), "a text to judge it on with --text")
    gpt, tokenizer, config = l12_pretraining.load_run(arguments.run, arguments.device)
    text = l12_pretraining.load_and_split(arguments.text or config.get("text"), config["training"]["seed"])
    if arguments.text is None:
        _refuse_changed(arguments.run, config, text.card.sha256, "--text")
    n_bytes = len(text.validation.encode("utf-8"))
    tokens = tokenizer.encode_array(text.validation)
    block = gpt.config.block_size
    figures: dict[str, Any] = evaluate_language(gpt, tokens, n_bytes, block, stride=max(1, block // 2))
    report_language({**figures, "baselines": text_baselines(text.train, text.validation)})
    return 0


def _evaluate_labels(arguments: argparse.Namespace, config: dict[str, Any]) -> None:
    """Measure how well a run tells labels apart: on the test part of its own texts, or on a table that it has not seen.

    The baselines learn from what the run has learned from; never from the table that is judged.
    """
    table, learned = table_of(arguments), None
    if table is None:
        _refuse_missing(arguments.run, (config["table"] or {}).get("data"), "a table to judge it on with --data")
    try:
        learned = l15_classification.load_labelled(config["table"])
        _refuse_changed(arguments.run, config, learned.card.sha256, "--data")
    except (ValueError, OSError) as error:
        if table is None:
            raise
        learned = None
        warnings.warn(f"no baselines, for what they would learn from is gone: {one_line(error)}", stacklevel=2)
    if table is not None:
        columns = (arguments.text_column, arguments.label_column)
        test: Any = datasets.read_examples(arguments.data, *columns, labels=config["labels"])
    else:
        assert learned is not None
        test = learned.test if config["kind"] == "classifier" else subset(learned.test, config["test_texts"], 0)
    if config["kind"] == "classifier":
        model, tokenizer, labels = l15_classification.load_classifier(arguments.run, arguments.device)
        encoded = l15_classification.encode(test, tokenizer, model.body.config.block_size)
        found, how = l15_classification.accuracy(model, encoded), "test accuracy"
    else:
        gpt, tokenizer, _ = l12_pretraining.load_run(arguments.run, arguments.device)
        labels, prior = tuple(config["labels"]), np.array(config["prior"], dtype=float)
        if prior.shape != (len(labels),) or not (prior > 0).all():
            raise RunError(f"{arguments.run}: expected the share of each of the {len(labels)} labels in 'prior'")
        texts, right = zip(*test, strict=True)
        p = l16_label_to_words.classify(gpt, tokenizer, texts, labels, prior)
        found, how = float((p.argmax(axis=1) == right).mean()), f"accuracy by Bayes' rule on {len(test)} texts"
    report_labels(found, label_baselines(learned.train, test, len(labels)) if learned else None, how)


def _refuse_missing(run: Path, path: str | None, instead: str) -> None:
    if path is not None and not Path(path).exists():
        raise RunError(f"{run}: has learned from {missing(path)}; give {instead}")


def _refuse_changed(run: Path, config: dict[str, Any], sha256: str, instead: str) -> None:
    """Refuse to judge a model on the held-out part of texts that are not those it has learned from."""
    if config.get("corpus_sha256", sha256) != sha256:
        raise RunError(
            f"{run}: its texts have changed since it began, so it may have learned what would be held out now; "
            f"give others with {instead}"
        )


def do_plot(arguments: argparse.Namespace) -> int:
    """Lay curves over each other."""
    folders = list(dict.fromkeys(arguments.runs))
    runs = {str(folder): read_metrics(folder) for folder in folders}
    configs = [read_config(folder) for folder in folders]
    usual = {"pretrain": "bits_per_byte", "classifier": "accuracy", "generator": "loss"}
    metric = arguments.metric or usual.get(configs[0]["kind"], "loss")
    if not any(f"val_{metric}" in r for records in runs.values() for r in records):
        known = sorted({k[4:] for records in runs.values() for r in records for k in r if k.startswith("val_")})
        raise ValueError(f"--metric {metric}: the runs do not have it; they have {', '.join(known)}")
    without = [name for name, records in runs.items() if not any(f"val_{metric}" in r for r in records)]
    if without:
        warnings.warn(f"--metric {metric}: not in {', '.join(without)}, of which no curve is drawn", stacklevel=2)
    factors = {name: config.get("bits_per_nat") for name, config in zip(runs, configs, strict=True)}
    out = arguments.out.with_suffix("") if arguments.out.suffix in (".png", ".svg", ".json") else arguments.out
    for path in plot_curves(runs, out, metric=metric, bits_per_nat=factors if metric == "bits_per_byte" else None):
        print(path)
    return 0

"""Grids that studies ran over tasks, ranks, sizes and rates, each figure the mean over the study's seeds."""

from collections.abc import Iterator
from dataclasses import replace

from autopeft.values.evidence import Run, RunModel, RunTask
from autopeft.values.names import ModelKind, ParameterValue
from benchmarks._tables import PADDED, UNLICENSED, Table, glue, rows, run

DOMAINS = Table(
    source="https://github.com/LEESY-X/Domain_fine-tuning_experiments/blob/3b51487/final_tables/"
    "summary_by_task_model_method.csv",
    licence=UNLICENSED, date="2026-06-26", interested=False, label="Domain_fine-tuning_experiments",
    device="NVIDIA GeForce RTX 5070 Ti",
)  # fmt: skip
RANKS = Table(
    source="https://github.com/silversuncn/lora-rank-scaling/blob/35e3a61/data/results.csv (Sun et al., 2026)",
    licence="MIT", date="2026-05-28", interested=False, label="lora-rank-scaling",
    device="NVIDIA RTX PRO 6000 Blackwell",
)  # fmt: skip
SHAPES = Table(
    source="https://github.com/silversuncn/arch-peft-comparison/blob/17f8fb4/data/results.csv (Sun et al., 2026)",
    licence="MIT", date="2026-06-21", interested=False, label="arch-peft-comparison",
    device="NVIDIA RTX PRO 6000 Blackwell",
)  # fmt: skip
RATES = Table(
    source="https://github.com/venkatkollu/indic-peft-comparison/blob/b222ba1a352f7935aa768e624c525acbe6117961/results/"
    "04-hyperparameter-search/lr_sweep_raw_results.csv",
    licence="MIT", date="2026-07-27", interested=False, label="indic-peft-comparison",
)  # fmt: skip

DOMAIN_METHODS: dict[str, tuple[float, int, dict[str, ParameterValue]]] = {
    "full": (2e-5, 0, {}), "lora": (1e-4, 887_042, {"rank": 8, "alpha": 16, "dropout": 0.05}),
    "pfeiffer_adapter": (1e-4, 1_781_762, {"bottleneck": 64, "activation": "gelu", "dropout": 0.0}),
    "bitfit": (1e-4, 694_274, {}), "ia3": (5e-4, 619_778, {}),
}  # fmt: skip
"""Learning rate, trained parameters with two labels (all where 0) and parameters."""
DOMAIN_MODELS = {"roberta-base": 124_647_170, "bertweet-base": 134_901_506, "klue-roberta-base": 110_619_650}
PER_LABEL = 769
"""Parameters that a further label adds to the head."""
DOMAIN_SCORES = """
roberta-base      finance_sentiment     3   3872 85.29 62.19 59.30 59.30 63.84
roberta-base      movie_reviews         2  22500 91.08 89.96 90.02 89.04 87.22
roberta-base      news_topic            4 108000 95.03 93.20 93.44 92.17 92.44
roberta-base      product_reviews       5 200000 61.00 59.15 59.94 58.70 58.72
roberta-base      tweet_emotion         4   3257 77.83 42.22 39.37 39.27 46.62
roberta-base      tweet_hate            2   9000 48.53 54.97 52.15 55.35 57.98
roberta-base      tweet_irony           2   2862 61.05 55.36 55.82 56.12 57.37
roberta-base      tweet_offensive       2  11916 84.30 83.81 83.72 82.12 80.51
roberta-base      tweet_sentiment       3  45615 70.93 70.78 70.67 70.19 69.23
klue-roberta-base comment_kmhas_binary  2  78977 88.80 86.72 87.33 84.82 84.55
klue-roberta-base movie_nsmc            2 134995 90.96 89.55 90.18 88.12 88.18
klue-roberta-base news_ynat             7  41110 86.86 86.52 87.06 85.91 85.64
bertweet-base     finance_sentiment     3   3872 81.45 65.87 67.02 66.74 70.79
bertweet-base     measuring_hate_speech 2 108444 82.16 81.66 81.93 81.41 80.78
bertweet-base     movie_reviews         2  22500 89.54 87.55 88.21 86.60 85.79
bertweet-base     news_topic            4 108000 94.44 92.09 92.72 91.53 91.71
bertweet-base     product_reviews       5 200000 61.04 58.55 58.92 57.53 57.85
bertweet-base     tweet_emotion         4   3257 75.50 39.27 39.92 39.47 52.51
bertweet-base     tweet_hate            2   9000 55.69 54.11 51.27 53.79 54.94
bertweet-base     tweet_irony           2   2862 73.70 56.79 59.13 59.44 60.94
bertweet-base     tweet_offensive       2  11916 84.70 82.49 84.47 81.33 77.72
bertweet-base     tweet_sentiment       3  45615 72.37 71.06 71.03 70.65 68.94
"""
"""Model, task, labels, training rows, accuracy in percent by each of `DOMAIN_METHODS`."""

RANKED = (2, 4, 8, 16, 32, 64)
RANK_MODELS = {"bert-base-uncased": ("bert", 110, 1538), "roberta-base": ("roberta", 125, 592_130)}
"""Type, millions, parameters of the trained head."""
RANK_ROWS = {"MRPC": 3668, "RTE": 2490}
RANK_SCORES = """
bert-base-uncased SST-2   50 50.67 51.51 53.58 56.58 63.07 66.26
bert-base-uncased SST-2  500 84.40 84.54 84.75 85.30 84.86 84.47
bert-base-uncased SST-2 5000 88.28 88.90 88.37 89.54 88.88 89.54
bert-base-uncased MRPC    50 68.38 68.38 68.38 68.38 68.24 68.82
bert-base-uncased MRPC   500 70.29 72.94 73.77 74.12 73.97 76.81
bert-base-uncased MRPC  5000 80.98 82.70 85.00 85.44 85.15 84.31
bert-base-uncased QNLI    50 62.71 65.08 65.65 68.31 68.99 68.04
bert-base-uncased QNLI   500 72.98 74.14 76.69 76.37 78.26 76.64
bert-base-uncased QNLI  5000 83.04 83.68 84.63 83.52 85.39 85.25
bert-base-uncased RTE     50 50.40 51.91 52.56 54.01 52.64 53.50
bert-base-uncased RTE    500 56.10 57.18 57.11 58.63 57.18 59.13
bert-base-uncased RTE   5000 62.74 62.82 65.78 66.43 68.45 71.26
roberta-base      SST-2   50 50.00 49.84 51.70 62.13 74.11 78.60
roberta-base      SST-2  500 88.17 89.31 89.45 89.24 89.50 88.60
roberta-base      SST-2 5000 91.77 92.04 92.18 92.20 91.70 91.88
roberta-base      MRPC    50 68.38 68.38 68.38 68.38 66.42 66.37
roberta-base      MRPC   500 71.23 73.63 74.75 77.30 78.48 78.63
roberta-base      MRPC  5000 84.26 85.64 85.83 86.13 86.76 85.59
roberta-base      QNLI    50 50.21 49.83 50.51 50.21 52.44 55.11
roberta-base      QNLI   500 59.31 63.90 71.98 80.26 77.07 69.80
roberta-base      QNLI  5000 85.57 86.07 86.99 85.64 87.42 78.23
roberta-base      RTE     50 50.32 48.74 49.17 48.30 48.66 48.88
roberta-base      RTE    500 50.69 54.15 54.66 55.38 52.78 50.54
roberta-base      RTE   5000 67.80 67.80 69.75 66.21 69.39 57.33
"""
"""Model, task, training rows (all where there are fewer), accuracy in percent by each of `RANKED`: of the study's
seven sizes those a decade apart."""

SHAPE_METHODS: dict[str, dict[str, ParameterValue]] = {
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.0}, "bitfit": {}, "ia3": {},
}  # fmt: skip
SHAPE_MODELS: dict[str, tuple[ModelKind, str, int, tuple[int, int, int]]] = {
    "bert-base-uncased": ("encoder", "bert", 109_483_778, (296_450, 104_450, 66_050)),
    "Qwen3-0.6B": ("decoder", "qwen3", 596_051_968, (1_148_928, 2048, 174_080)),
    "t5-base": ("encoder", "t5", 109_630_082, (296_450, 1922, 56_834)),
}
"""Kind, type, size, trained parameters by each of `SHAPE_METHODS`; of T5 the encoder alone."""
SHAPE_SCORES = """
bert-base-uncased SST-2  48 51.64 51.61 50.46
bert-base-uncased SST-2 384 83.03 56.77 53.10
bert-base-uncased MRPC   48 68.46 68.46 68.46
bert-base-uncased MRPC  384 71.73 67.97 68.22
bert-base-uncased QNLI   48 51.57 51.38 51.46
bert-base-uncased QNLI  384 69.36 56.56 55.48
bert-base-uncased RTE    48 50.66 51.14 50.78
bert-base-uncased RTE   384 59.33 54.87 54.15
Qwen3-0.6B        SST-2  48 60.02 52.10 52.18
Qwen3-0.6B        SST-2 384 87.23 73.36 77.10
Qwen3-0.6B        MRPC   48 64.87 63.48 63.73
Qwen3-0.6B        MRPC  384 73.94 70.42 71.90
Qwen3-0.6B        QNLI   48 63.00 53.54 53.64
Qwen3-0.6B        QNLI  384 82.64 60.94 66.20
Qwen3-0.6B        RTE    48 54.27 51.26 51.14
Qwen3-0.6B        RTE   384 69.80 56.80 58.60
t5-base           SST-2  48 54.28 56.42 54.82
t5-base           SST-2 384 66.63 60.51 60.59
t5-base           MRPC   48 68.30 68.30 68.30
t5-base           MRPC  384 68.38 68.38 68.38
t5-base           QNLI   48 50.54 51.05 51.25
t5-base           QNLI  384 65.42 56.32 57.72
t5-base           RTE    48 48.26 49.94 49.46
t5-base           RTE   384 53.55 53.67 56.08
"""
"""Model, task, training rows, accuracy in percent by each of `SHAPE_METHODS`: of the study's four sizes the ends."""

RATE_TRAINED = {"lora": 887_811, "dora": 906_243, "ia3": 657_411}
RATE_SCORES = """
lora 5e-6 34.50 34.68
lora 1e-5 34.84 34.62
lora 5e-5 53.78 43.92
lora 1e-4 54.76 51.83
lora 5e-4 60.36 33.33
lora 1e-3 33.33 33.33
lora 5e-3 33.33 33.33
dora 5e-6 34.54 34.62
dora 1e-5 34.92 34.54
dora 5e-5 52.85 42.85
dora 1e-4 54.26 51.37
dora 5e-4 58.80 45.30
dora 1e-3 33.33 33.33
dora 5e-3 33.33 33.33
ia3  5e-6 34.92 34.84
ia3  1e-5 34.64 34.78
ia3  5e-5 35.42 35.02
ia3  1e-4 34.84 33.86
ia3  5e-4 50.46 44.44
ia3  1e-3 53.45 51.08
ia3  5e-3 56.77 51.99
"""
"""Method, learning rate, accuracy in percent on Hindi and on Telugu; a third is chance."""


def domain_runs() -> Iterator[Run]:
    """Yields five methods on tweets, reviews and news: three epochs of the first data set, five of Korean, else two."""
    for name, task_name, labels, taken, *scores in rows(DOMAIN_SCORES):
        korean = name.startswith("klue")
        model = RunModel(name=name, kind="encoder", model_type="roberta", parameters=DOMAIN_MODELS[name])
        task = RunTask(
            name=task_name, task="classification", rows=int(taken), labels=int(labels),
            language="ko" if korean else "en",
        )  # fmt: skip
        for (method, (rate, trained, parameters)), score in zip(DOMAIN_METHODS.items(), scores, strict=True):
            trained = (trained or DOMAIN_MODELS[name]) + PER_LABEL * (int(labels) - 2)
            yield replace(
                run(DOMAINS, model, task, method, method, score), parameters=parameters, learning_rate=rate,
                targets="qv" if method == "lora" else "", batch_size=64, sequence_limit=128, optimizer="adamw",
                trainable_parameters=trained, notes=("Mean over five seeds.",),
            )  # fmt: skip


def rank_runs() -> Iterator[Run]:
    """Yields ranks of LoRA by the size of the data, ten epochs of 50 rows, five of 500, three of 5,000.

    The scale's alpha is 16 at every rank; the reference is rank 8, the study's default.
    """
    for name, task_name, taken, *scores in rows(RANK_SCORES):
        kind, millions, head = RANK_MODELS[name]
        model = RunModel(name=name, kind="encoder", model_type=kind, parameters=millions * 1_000_000)
        task = glue(task_name, min(int(taken), RANK_ROWS.get(task_name, int(taken))))
        for rank, score in zip(RANKED, scores, strict=True):
            made = run(RANKS, model, task, "lora", "lora", score, budget=f"{taken} rows", suffix=f" rank {rank}")
            yield replace(
                made, parameters={"rank": rank, "alpha": 16, "dropout": 0.0}, targets="qv", learning_rate=2e-4,
                batch_size=8, sequence_limit=256, optimizer="adamw", reference=rank == 8,
                trainable_parameters=36_864 * rank + head, notes=("Mean over five seeds.",),
            )  # fmt: skip


def shape_runs() -> Iterator[Run]:
    """Yields three methods on an encoder, a decoder and an encoder cut from a pair, ten epochs each."""
    for name, task_name, taken, *scores in rows(SHAPE_SCORES):
        kind, model_type, parameters, trained = SHAPE_MODELS[name]
        model = RunModel(name=name, kind=kind, model_type=model_type, parameters=parameters)
        for (method, shaped), size, score in zip(SHAPE_METHODS.items(), trained, scores, strict=True):
            made = run(SHAPES, model, glue(task_name, int(taken)), method, method, score, budget=f"{taken} rows")
            yield replace(
                made, parameters=shaped, targets="qv" if method == "lora" else "", learning_rate=2e-4, batch_size=16,
                sequence_limit=128, optimizer="adamw", dtype="bfloat16", tokens=int(taken) * 10 * 128,
                trainable_parameters=size, notes=("Mean over three seeds.", PADDED),
            )  # fmt: skip


def rate_runs() -> Iterator[Run]:
    """Yields three methods at seven rates on entailment, 2,000 rows ten times; the reference is at 1e-4."""
    model = RunModel(name="xlm-roberta-base", kind="encoder", model_type="xlm-roberta", parameters=278_045_955)
    for method, rate, *scores in rows(RATE_SCORES):
        for language, score in zip(("hi", "te"), scores, strict=True):
            task = RunTask(
                name=f"IndicXNLI {language}", task="pair-classification", rows=2000, labels=3, language=language
            )
            made = run(RATES, model, task, method, method, score, suffix=f" {rate}")
            yield replace(
                made, parameters={} if method == "ia3" else {"rank": 8, "alpha": 16, "dropout": 0.1},
                targets="" if method == "ia3" else "qv", learning_rate=float(rate), batch_size=32, sequence_limit=128,
                optimizer="adamw", tokens=2000 * 10 * 128, trainable_parameters=RATE_TRAINED[method],
                reference=method == "lora" and rate == "1e-4", notes=("Mean over two seeds.", PADDED),
            )  # fmt: skip

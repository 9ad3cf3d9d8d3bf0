"""Tables of studies that compare methods, none of them their own: questions, code, comments, films, entailment."""

from collections.abc import Iterator
from dataclasses import replace

from autopeft.values.evidence import Run, RunModel, RunTask
from autopeft.values.names import ParameterValue
from benchmarks._tables import MILLION, PADDED, UNLICENSED, Table, glue, rows, run, share

BERTIMBAU = Table(
    source="https://github.com/MarielaNina/qa_squad_bertimbau/blob/main/qa_bertimbau (analysis_bertimbau_*.ipynb)",
    licence="figures quoted; page says MIT", date="2026-01-03", interested=False, label="qa_squad_bertimbau",
    device="NVIDIA RTX A4500",
)  # fmt: skip
CODE = Table(
    source="https://github.com/Ssavan99/CodeTuneEfficiency/blob/main/results/summary.csv",
    licence="MIT", date="2026-08-10", interested=False, label="CodeTuneEfficiency", device="NVIDIA Tesla T4",
)  # fmt: skip
FINANCE = Table(
    source="https://github.com/Hussain0327/my-ai/blob/main/paper/RESEARCH_RESULTS.md",
    licence="MIT", date="2025-12-31", interested=False, label="my-ai",
)  # fmt: skip
FILMS = Table(
    source="https://github.com/yogeswararao/llm-finetuning/blob/464020d/llm-finetuning.ipynb",
    licence="MIT", date="2025-12-19", interested=False, label="llm-finetuning",
)  # fmt: skip
PROMPTS = Table(
    source="https://github.com/juny116/eff_tl/blob/cc7b2d2/results/benchmark.md",
    licence=UNLICENSED, date="2022-01-17", interested=True, label="eff_tl",
)  # fmt: skip
ABUSE = Table(
    source="https://github.com/DurgaPrasad-2007/Telugu_Hate_Speech_Detector/blob/1929e39/results/all_results.csv",
    licence=UNLICENSED, date="2026-11-21", interested=False, label="Telugu_Hate_Speech_Detector",
)  # fmt: skip
SUMMARIES = Table(
    source="https://github.com/ujwal-jibhkate/lora-vs-ia3/blob/main/README.md",
    licence="MIT", date="2025-11-07", interested=False, label="lora-vs-ia3", device="NVIDIA T4",
)  # fmt: skip

QUESTIONS = """
base  2 full 4.25e-5 none       82.79
base  2 full 2e-4    none       79.74
base  2 lora 4.25e-5 none       71.81
base  2 lora 2e-4    none       78.01
base  2 lora 4.25e-5 nf4-double 53.52
base  2 lora 2e-4    nf4-double 73.23
base  2 dora 4.25e-5 none       71.36
base  2 dora 2e-4    none       78.01
base  2 dora 4.25e-5 nf4-double 54.10
base  2 dora 2e-4    nf4-double 74.41
base  3 full 4.25e-5 none       82.18
base  3 full 2e-4    none       78.33
base  3 lora 4.25e-5 none       72.01
base  3 lora 2e-4    none       78.01
base  3 lora 4.25e-5 nf4-double 53.19
base  3 lora 2e-4    nf4-double 74.16
base  3 dora 4.25e-5 none       71.50
base  3 dora 2e-4    none       78.27
base  3 dora 4.25e-5 nf4-double 58.42
base  3 dora 2e-4    nf4-double 74.46
large 2 full 4.25e-5 none       84.86
large 2 full 2e-4    none       3.02
large 2 lora 4.25e-5 none       75.65
large 2 lora 2e-4    none       81.32
large 2 lora 4.25e-5 nf4-double 68.23
large 2 lora 2e-4    nf4-double 80.03
large 2 dora 4.25e-5 none       74.93
large 2 dora 2e-4    none       80.61
large 2 dora 4.25e-5 nf4-double 70.32
large 2 dora 2e-4    nf4-double 77.96
"""
"""Size, epochs, method, learning rate, codes, F1 in percent. The larger model's three epochs stay out: its plain LoRA
at the lower rate has the time of two."""

CODE_TASKS = (
    RunTask(name="Devign", task="classification", rows=21_854, labels=2),
    RunTask(name="BigCloneBench", task="pair-classification", rows=20_000, labels=2),
)
CODE_SCORES = """
full             5e-5 124647170 64.33 93.37
lora             1e-4 887042    58.27 91.73
bitfit           1e-4 694274    57.67 89.20
parallel_adapter 1e-4 896450    59.00 92.27
"""
"""Method, learning rate, trained parameters, mean accuracy in percent over three seeds on each of `CODE_TASKS`."""
CODE_PARAMETERS: dict[str, dict[str, ParameterValue]] = {
    "lora": {"rank": 8, "alpha": 16}, "parallel_adapter": {"bottleneck": 16},
}  # fmt: skip

FINANCE_SCORES = """
- 100.00 86.85
4  0.81  82.20
8  0.90  83.55
16 1.08  84.08
32 1.44  84.42
64 2.16  84.56
"""
"""LoRA's rank, trained percent, mean accuracy in percent over five seeds."""

FILM_SCORES = """
full          full          adamw     none       2e-5 66955010 93.32
lora          lora          adamw     none       2e-4 887042   92.62
lora-fa       lora          lora_fa   none       2e-4 739586   91.20
lora+         lora          lora_plus none       1e-4 887042   92.80
qlora         lora          adamw     nf4-double 2e-4 296450   92.56
vera          vera          adamw     none       1e-3 616706   91.02
prompt-tuning prompt_tuning adamw     none       2e-4 607490   85.22
p-tuning      p_tuning      adamw     none       2e-4 2379266  89.96
"""
"""Name on the page, method, optimizer, codes, learning rate, trained parameters, accuracy in percent on all test rows.
The page's AdaLoRA never reallocates its ranks and its Delta-LoRA approximates the method: both stay out."""
FILM_PARAMETERS: dict[str, dict[str, ParameterValue]] = {
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.1}, "vera": {"rank": 256, "d_initial": 0.1, "dropout": 0.0},
    "prompt_tuning": {"virtual_tokens": 20, "init": "random"},
    "p_tuning": {"virtual_tokens": 20, "encoder": "MLP", "encoder_hidden": 768},
}  # fmt: skip
FILM_NOTES = {
    "lora-fa": "Plain AdamW over the second matrices alone.",
    "lora+": "The head trains at the second matrices' rate.",
    "qlora": "Of the head's two layers only the last trains.",
}

ABUSE_SCORES = """
full  full 2e-5 none       237557762 90.4526
lora  lora 1e-4 none       886274    86.7645
dora  dora 1e-4 none       913922    86.2808
qlora lora 1e-4 nf4-double 886274    87.0092
ia3   ia3  1e-4 none       85250     72.6061
"""
"""Name in the file, method, learning rate, codes, trained parameters, macro F1 in percent on 2997 test rows. Its
AdaLoRA stays out: nothing in its training reallocates ranks."""

PROMPT_SCORES = """
MNLI  full          100   1e-5 82.9
MNLI  lora          0.47  8e-5 83.6
MNLI  lora          0.47  5e-5 83.7
MNLI  lora          0.47  1e-5 83.1
MNLI  lora          0.47  5e-6 82.2
MNLI  prompt_tuning 0.005 5e-3 80.0
MNLI  prompt_tuning 0.01  5e-3 66.6
MNLI  prompt_tuning 0.005 1e-3 78.1
MNLI  prompt_tuning 0.001 1e-3 69.5
MNLI  prompt_tuning 0.005 5e-4 65.18
MNLI  prompt_tuning 0.005 1e-4 53.9
SST-2 full          100   1e-5 94.1
SST-2 lora          0.47  5e-5 94.6
SST-2 prefix_tuning 0.48  1e-4 94.95
"""
"""Task, method, trained percent, learning rate, accuracy in percent; a tenth of MNLI's rows, of SST-2 all."""

SUMMARY_LOSSES = """
distilbert sst2   ia3  -   0.01  0.3196
distilbert sst2   lora 8   1.09  0.3594
distilbert sst2   lora 16  1.31  0.3603
t5         samsum lora 128 7.23  0.3624
t5         samsum lora 64  3.86  0.3689
t5         samsum lora 32  1.93  0.3761
t5         samsum lora 16  0.965 0.3819
t5         samsum lora 8   0.485 0.3880
t5         samsum ia3  -   0.071 0.4652
"""
"""Model, data, method, rank, trained percent, loss on held-out rows. The page's third model trained at 2e-5, where
plain LoRA is no reference, and stays out."""
SUMMARY_MODELS = {
    "distilbert": RunModel(
        name="distilbert-base-uncased", kind="encoder", model_type="distilbert", parameters=66_955_010
    ),
    "t5": RunModel(name="t5-small", kind="seq2seq", model_type="t5", parameters=60_506_624),
}
SUMMARY_TASKS = {
    "sst2": glue("SST-2"), "samsum": RunTask(name="SAMSum", task="seq2seq", language="en"),
}  # fmt: skip


def question_runs() -> Iterator[Run]:
    """Yields Portuguese question answering, whose spans are marked token by token; the reference is at 2e-4."""
    for size, epochs, method, rate, codes, score in rows(QUESTIONS):
        base = size == "base"
        model = RunModel(
            name=f"bertimbau-{size}", kind="encoder", model_type="bert", parameters=(110 if base else 335) * MILLION
        )
        task = RunTask(name="SQuAD v1.1 pt", task="token-classification", language="pt")
        adapted = method != "full"
        original = method if codes == "none" else f"q{method}"
        yield replace(
            run(
                BERTIMBAU, model, task, method, original, score, metric="f1", budget=f"{epochs} epochs",
                suffix=f" {rate}",
            ),
            parameters={"rank": 16, "alpha": 32, "dropout": 0.1} if adapted else {}, targets="qv" if adapted else "",
            quantization=codes, optimizer="adamw", learning_rate=float(rate), batch_size=16 if base else None,
            sequence_limit=512, reference=method == "lora" and codes == "none" and rate == "2e-4",
        )  # fmt: skip


def code_runs() -> Iterator[Run]:
    """Yields CodeBERT on two tasks of code, two epochs each."""
    model = RunModel(name="codebert-base", kind="encoder", model_type="roberta", parameters=124_647_170)
    for method, rate, trained, *scores in rows(CODE_SCORES):
        for task, score in zip(CODE_TASKS, scores, strict=True):
            yield replace(
                run(CODE, model, task, method, method, score), parameters=CODE_PARAMETERS.get(method, {}),
                targets="qv" if method == "lora" else "", optimizer="adamw", learning_rate=float(rate), batch_size=32,
                sequence_limit=256, tokens=(task.rows or 0) * 2 * 256, trainable_parameters=int(trained),
                notes=("Mean over three seeds.", PADDED),
            )  # fmt: skip


def finance_runs() -> Iterator[Run]:
    """Yields ranks of LoRA beside full fine-tuning on tweets about finance; the reference is rank 16."""
    parameters = 82 * MILLION
    model = RunModel(name="distilroberta-base", kind="encoder", model_type="roberta", parameters=parameters)
    task = RunTask(name="twitter-financial-news", task="classification", rows=7634, labels=3, language="en")
    for rank, percent, score in rows(FINANCE_SCORES):
        method = "full" if rank == "-" else "lora"
        ranked: dict[str, ParameterValue] = (
            {} if rank == "-" else {"rank": int(rank), "alpha": 2 * int(rank), "dropout": 0.1}
        )
        yield replace(
            run(FINANCE, model, task, method, method, score, suffix=f" rank {rank}" if ranked else ""),
            parameters=ranked, targets="qv" if ranked else "", learning_rate=1e-4 if ranked else 2e-5, batch_size=32,
            trainable_parameters=share(float(percent), parameters), reference=rank == "16",
            tokens=7634 * 3 * 128, notes=("Mean over five seeds.", "Shares are rounded by the source.", PADDED),
        )  # fmt: skip


def film_runs() -> Iterator[Run]:
    """Yields eight ways to tell good films from bad, three epochs each; a prompt takes 20 of the 512 tokens."""
    model = RunModel(name="distilbert-base-uncased", kind="encoder", model_type="distilbert", parameters=66_955_010)
    task = RunTask(name="IMDb", task="classification", rows=25_000, labels=2, language="en")
    for original, method, optimizer, codes, rate, trained, score in rows(FILM_SCORES):
        notes = (PADDED, FILM_NOTES[original]) if original in FILM_NOTES else (PADDED,)
        yield replace(
            run(FILMS, model, task, method, original, score), parameters=FILM_PARAMETERS.get(method, {}),
            targets="attention" if method in ("lora", "vera") else "", quantization=codes, optimizer=optimizer,
            learning_rate=float(rate), batch_size=16, sequence_limit=512, steps=3 * 1563, tokens=25_000 * 3 * 512,
            trainable_parameters=int(trained), reference=original == "lora", notes=notes,
        )  # fmt: skip


def abuse_runs() -> Iterator[Run]:
    """Yields five ways to find abuse in Telugu comments, three epochs each."""
    model = RunModel(name="muril-base-cased", kind="encoder", model_type="bert", parameters=237_557_762)
    task = RunTask(name="MACD Telugu", task="classification", rows=23_980, labels=2, language="te")
    for original, method, rate, codes, trained, score in rows(ABUSE_SCORES):
        shaped: dict[str, ParameterValue] = {"rank": 16, "alpha": 32, "dropout": 0.05}
        ranked = method in ("lora", "dora")
        yield replace(
            run(ABUSE, model, task, method, original, score, metric="macro_f1"), parameters=shaped if ranked else {},
            targets="query,key,value" if ranked else "", quantization=codes, optimizer="adamw",
            learning_rate=float(rate), batch_size=32, sequence_limit=96, seed=42, trainable_parameters=int(trained),
            reference=original == "lora", notes=("The page states no day; dated by when it was read.",),
        )  # fmt: skip


def prompt_runs() -> Iterator[Run]:
    """Yields rates of LoRA and of prompts on the largest GPT-2; the reference is the highest of LoRA's rates."""
    parameters = 1500 * MILLION
    model = RunModel(name="gpt2-xl", kind="decoder", model_type="gpt2", parameters=parameters)
    for name, method, percent, rate, score in rows(PROMPT_SCORES):
        task = glue(name, 39_000 if name == "MNLI" else 66_349)
        yield replace(
            run(PROMPTS, model, task, method, method, score, suffix=f" {percent} % {rate}"), learning_rate=float(rate),
            seed=1234, trainable_parameters=share(float(percent), parameters),
            reference=method == "lora" and rate == {"MNLI": "8e-5", "SST-2": "5e-5"}[name],
            notes=("Shares are rounded by the source.", "LoRA trained 40 epochs of MNLI, prompts 80 or 40."),
        )  # fmt: skip


def summary_runs() -> Iterator[Run]:
    """Yields ranks of LoRA beside IA3 by their loss, three epochs each; the reference is rank 16."""
    for name, data, method, rank, percent, loss in rows(SUMMARY_LOSSES):
        model = SUMMARY_MODELS[name]
        made = run(
            SUMMARIES, model, SUMMARY_TASKS[data], method, method, loss, metric="validation_loss",
            suffix="" if rank == "-" else f" rank {rank}",
        )  # fmt: skip
        yield replace(
            made, parameters={} if rank == "-" else {"rank": int(rank)}, learning_rate=5e-4, reference=rank == "16",
            trainable_parameters=share(float(percent), model.parameters or 0),
            notes=("Shares are rounded by the source; the model's size is its checkpoint's.",),
        )  # fmt: skip

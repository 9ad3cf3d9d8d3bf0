"""Profiles, methods and cases made by hand, so that rules are tested without a model, a device or a clock."""

from dataclasses import replace
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import Capabilities, Method, Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.recommend.needs import task_needs
from autopeft.recommend.setting import Case, Setting
from autopeft.values.candidates import Candidate, Constraints, Estimate, MemoryEstimate
from autopeft.values.names import MODEL_KINDS, TASKS
from autopeft.values.profiles import (
    Device,
    HardwareProfile,
    ModelProfile,
    ModuleShape,
    TaskProfile,
    Throughput,
    TokenLengths,
)

GIB = 1024**3
RATES = FloatDistribution(1e-5, 1.0, log=True)


def decoder(
    *, layers=28, hidden=3072, feed_forward=8192, heads=24, key_value=8, head_size=128, vocabulary=128256, tied=True
):
    """A Llama-like decoder; the defaults are Llama-3.2-3B's published config."""
    narrow = key_value * head_size
    shapes = (
        ("self_attn.q_proj", "query", hidden, heads * head_size),
        ("self_attn.k_proj", "key", hidden, narrow),
        ("self_attn.v_proj", "value", hidden, narrow),
        ("self_attn.o_proj", "output", heads * head_size, hidden),
        ("mlp.gate_proj", "gate", hidden, feed_forward),
        ("mlp.up_proj", "up", hidden, feed_forward),
        ("mlp.down_proj", "down", feed_forward, hidden),
    )
    modules = [_shape("model.embed_tokens", "embedding", "embedding", vocabulary, hidden, None)]
    for layer in range(layers):
        stem = f"model.layers.{layer}"
        modules += [_shape(f"{stem}.{n}", "linear", role, i, o, layer) for n, role, i, o in shapes]
        modules += [
            _shape(f"{stem}.{n}", "norm", "norm", hidden, hidden, layer)
            for n in ("input_layernorm", "post_attention_layernorm")
        ]
    modules.append(_shape("model.norm", "norm", "norm", hidden, hidden, None))
    modules.append(
        replace(
            _shape("lm_head", "linear", "head", hidden, vocabulary, None),
            parameters=0 if tied else hidden * vocabulary,
        )
    )
    return ModelProfile(
        source="made by hand", fingerprint="0" * 64, model_type="llama", architecture="LlamaForCausalLM",
        kind="decoder", tasks=TASKS, parameters=sum(m.parameters for m in modules), layers=layers,
        hidden_size=hidden, feed_forward_size=feed_forward, attention_heads=heads, key_value_heads=key_value,
        head_size=head_size, vocabulary_size=vocabulary, tied_embeddings=tied, max_positions=8192,
        weight_bytes=None, weight_format="none", task="generation", labels=0, modules=tuple(modules),
    )  # fmt: skip


def _shape(name, kind, role, inputs, outputs, layer):
    parameters = outputs if kind == "norm" else inputs * outputs
    return ModuleShape(
        name=name, kind=kind, role=role, in_features=inputs, out_features=outputs, bias=False,
        parameters=parameters, layer=layer,
    )  # fmt: skip


SMALL = decoder(layers=2, hidden=64, feed_forward=160, heads=4, key_value=2, head_size=16, vocabulary=1000)
LARGE = replace(SMALL, parameters=20_000_000_000)


def task(name="classification", *, rows=5000, tokens=100, labels=("no", "yes"), language=None):
    """A task described by numbers."""
    return TaskProfile(
        task=name, source="described", rows={"train": rows}, labels=labels, language=language,
        tokens=TokenLengths(p50=tokens, p95=tokens, longest=tokens, mean=float(tokens)),
    )  # fmt: skip


def hardware(*, memory=24 * GIB, kind="cuda", dtype="bfloat16", throughput=True):
    """One device with this much free memory."""
    rate = Throughput(
        tflops={"float32": 20.0, "bfloat16": 100.0}, bandwidth_bytes_per_second=1e12, source="made by hand"
    )
    device = Device(
        index=0, name="a card", kind=kind, total_memory_bytes=memory, free_memory_bytes=memory,
        throughput=rate if throughput else None,
    )  # fmt: skip
    return HardwareProfile(
        source="given", devices=(device,), selected=0, cpu_count=2, ram_bytes=memory, dtype=dtype,
        dtype_reason="made by hand",
    )  # fmt: skip


def method(family="low-rank", *, name="fake", trainable=None, seeds=None, violations=(), **overrides):
    """A method of a family; by default a plain low-rank pair of rank 8 that can do anything."""
    able: dict[str, Any] = {
        "tasks": TASKS, "models": MODEL_KINDS, "quantized_base": True, "mergeable": True,
        "identity_at_start": True, "adds_latency": False, "changes_base": False, "takes_targets": True,
        "takes_layers": True,
    }  # fmt: skip
    able |= {key: overrides.pop(key) for key in list(overrides) if key in Capabilities.__dataclass_fields__}
    return Method(
        name=name, title=name, family=family, paper=Paper(title="A paper", year=2020, address="https://arxiv.org/abs/1"),
        summary="Does it.", capabilities=Capabilities(**able), legal={"rank": IntDistribution(1, 256)},
        learning_rate=RATES,
        seeds=seeds or (Seed(parameters={"rank": 8}, learning_rate=1e-3, source="made by hand"),),
        trainable=trainable or pair, violations=lambda setup: violations, apply=_never, peft_config=_never,
        effective=_never, detach=_never, merge=None, save=_never, load=_never, **overrides,
    )  # fmt: skip


def pair(setup):
    """Parameters of a low-rank pair on every target."""
    rank = setup.candidate.parameters["rank"]
    return sum(rank * (m.in_features + m.out_features) for m in target_modules(setup))


def _never(*_):
    raise AssertionError("a recommendation must not touch a network")


def setting(**changes):
    """A setting with room: a small decoder, 5,000 rows of 100 tokens, 24 GiB."""
    given = changes.pop("task", task())
    return Setting(
        hardware=changes.pop("hardware", hardware()), model=changes.pop("model", SMALL), task=given,
        needs=task_needs(given.task), constraints=changes.pop("constraints", Constraints()), **changes,
    )  # fmt: skip


def case(of=None, *, within=None, trained=100_000, **candidate):
    """One candidate of a method in a setting, with a cost made up."""
    within, of = within or setting(), of or method()
    values: dict[str, Any] = {
        "parameters": dict(of.seeds[0].parameters),
        "learning_rate": 1e-3,
        "batch_size": 16,
    } | candidate
    memory = MemoryEstimate(peak_allocated_bytes=1, peak_reserved_bytes=1, context_bytes=0, breakdown={})
    return Case(
        method=of,
        candidate=Candidate(method=of.name, **values),
        estimate=Estimate(
            memory=memory, step_seconds=None, trainable_parameters=trained, total_parameters=within.model.parameters
        ),
        setting=within,
    )

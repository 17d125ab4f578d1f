from __future__ import annotations

import pytest
import torch
from tiny_model import VOCABULARY, sequences, tiny_model
from torch.nn.functional import log_softmax
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from rlbench.records import TrainingSequence, UserError
from rlbench.training import policy as policy_module
from rlbench.training.batching import examples_of, pack
from rlbench.training.policy import Critic, Policy, annotate


def alone(model: torch.nn.Module, row: TrainingSequence, temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities [L, V] at the trained tokens from transformers' own forward pass of one sequence."""
    ids = torch.tensor([[*row.prompt_ids, *row.token_ids]])
    return log_softmax(model(ids).logits[0, len(row.prompt_ids) - 1 : -1] / temperature, dim=-1)


def naive_logp(model: torch.nn.Module, rows: list[TrainingSequence], temperature: float = 1.0) -> torch.Tensor:
    return torch.cat([alone(model, row, temperature)[torch.arange(len(row.token_ids)), row.token_ids] for row in rows])


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_log_probabilities_and_gradients_are_those_of_each_sequence_alone(checkpointing: bool) -> None:
    rows = sequences(7)
    plain, trained = tiny_model(), tiny_model()
    expected = naive_logp(plain, rows)
    weight = torch.linspace(-1, 1, len(expected))
    (expected * weight).sum().backward()
    found = Policy(trained, checkpointing=checkpointing).outputs(pack(examples_of(rows, "sequences")))["logp"]
    (found * weight).sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    wanted = gradients(plain)
    for name, gradient in gradients(trained).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-5 * wanted[name].abs().max().item())


def test_chunks_of_the_output_layer_change_neither_values_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(examples_of(sequences(5), "sequences"))
    results = []
    for elements in (2**27, VOCABULARY * 4):
        monkeypatch.setattr(policy_module, "LOGIT_ELEMENTS", elements)
        model = tiny_model()
        outputs = Policy(model).outputs(packed, ("entropy",))
        (outputs["logp"] + outputs["entropy"]).sum().backward()
        results.append((outputs["logp"], outputs["entropy"], *gradients(model).values()))
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-4)


def test_entropy_is_that_of_the_next_token_distribution_at_the_temperature() -> None:
    rows = sequences(3)
    model = tiny_model()
    full = torch.cat([alone(model, row, 0.7) for row in rows]).detach()
    outputs = Policy(model, temperature=0.7).outputs(pack(examples_of(rows, "sequences")), ("entropy",))
    torch.testing.assert_close(outputs["entropy"], -(full.exp() * full).sum(-1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs["logp"], naive_logp(model, rows, 0.7), rtol=1e-5, atol=1e-5)


def test_entropy_is_computed_only_if_it_is_read() -> None:
    assert set(Policy(tiny_model()).outputs(pack(examples_of(sequences(2), "sequences")))) == {"logp"}


def test_a_sliding_window_is_kept_within_each_sequence() -> None:
    options = {
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 0,
        "layer_types": ["sliding_attention"] * 2,
    }
    rows = sequences(5)
    model = tiny_model(**options)
    expected = naive_logp(model, rows).detach()
    torch.testing.assert_close(
        Policy(model).outputs(pack(examples_of(rows, "sequences")))["logp"], expected, rtol=1e-5, atol=1e-5
    )


def test_another_architecture_trains_packed_too() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=48,
        initializer_range=0.2,
        tie_word_embeddings=False,
    )
    model, rows = LlamaForCausalLM(config).eval(), sequences(4)
    expected = naive_logp(model, rows).detach()
    torch.testing.assert_close(
        Policy(model).outputs(pack(examples_of(rows, "sequences")))["logp"], expected, rtol=1e-5, atol=1e-5
    )


def test_a_model_whose_packed_values_would_be_wrong_is_refused() -> None:
    class Scaled(LlamaForCausalLM):
        def forward(self, *args: object, **kwargs: object) -> object:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * 3
            return output

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        initializer_range=0.2,
    )
    with pytest.raises(UserError, match="off by up to"):
        Policy(Scaled(config))


def test_a_model_with_learned_positions_trains_packed_too() -> None:
    torch.manual_seed(0)
    options = {
        "n_positions": 64,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    model, rows = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **options)).eval(), sequences(4)
    expected = naive_logp(model, rows).detach()
    torch.testing.assert_close(
        Policy(model).outputs(pack(examples_of(rows, "sequences")))["logp"], expected, rtol=1e-5, atol=1e-5
    )


def test_dropout_is_off_while_training() -> None:
    model = tiny_model(attention_dropout=0.5)
    packed = pack(examples_of(sequences(3), "sequences"))
    policy = Policy(model)
    assert model.training
    assert torch.equal(policy.outputs(packed)["logp"], policy.outputs(packed)["logp"])


def test_bfloat16_keeps_float32_weights_and_gradients() -> None:
    model = tiny_model()
    packed = pack(examples_of(sequences(3), "sequences"))
    exact = Policy(tiny_model()).outputs(packed)["logp"]
    logp = Policy(model, dtype="bfloat16").outputs(packed)["logp"]
    logp.sum().backward()
    assert logp.dtype == torch.float32
    assert all(p.dtype == torch.float32 and p.grad.dtype == torch.float32 for p in model.parameters())
    assert 0 < (logp - exact).abs().max() < 0.5


def test_a_critic_starts_at_zero_and_values_the_state_before_its_token() -> None:
    model, rows = tiny_model(), sequences(3)
    critic = Critic(Policy(model))
    packed = pack(examples_of(rows, "sequences"))
    assert critic.outputs(packed)["value"].tolist() == [0.0] * len(packed.token_id)
    torch.nn.init.normal_(critic.head.weight, generator=torch.Generator().manual_seed(1))
    states = [model.model(torch.tensor([[*row.prompt_ids, *row.token_ids]])).last_hidden_state[0] for row in rows]
    expected = torch.cat(
        [critic.head(s[len(row.prompt_ids) - 1 : -1]).squeeze(-1) for s, row in zip(states, rows, strict=True)]
    )
    torch.testing.assert_close(critic.outputs(packed)["value"], expected, rtol=1e-5, atol=1e-5)


def test_a_critic_shares_no_weight_with_the_policy() -> None:
    policy = Policy(tiny_model())
    critic = Critic(policy)
    assert not {p.data_ptr() for p in critic.parameters()} & {p.data_ptr() for p in policy.module.parameters()}


def test_annotations_do_not_depend_on_the_micro_batch() -> None:
    policy = Policy(tiny_model())
    stored = []
    for budget in (1, 10_000):
        examples = examples_of(sequences(6), "sequences")
        annotate(policy, examples, {"logp": "ref_logp"}, budget, torch.device("cpu"))
        stored.append(torch.cat([example.fields["ref_logp"] for example in examples]))
    torch.testing.assert_close(*stored, rtol=1e-5, atol=1e-5)

"""What a critic, episodes again and one single life reach, beside `reward` as it ships.

    python benchmarks/episodes.py                        # prints
    python benchmarks/episodes.py --out episodes.json    # and into docs/closed-loop.md

Three seeds, 0 to 2, of every line; learning rates that had to be chosen were chosen on seed 100. Returns are
those of 100 test episodes without noise. Lines of px.Agent need gymnasium (extra `gym`); without it they are
left out.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np
import optax
from family import with_section
from harness import on_what, save, table

import perturbax as px
from perturbax.cells.stack import stack

PAGE = Path(__file__).parents[1] / "docs" / "closed-loop.md"
SEEDS, CHOOSING = (0, 1, 2), 100
RATES = (3e-3, 1e-2, 3e-2)  # of the learning rates that are chosen from
UPDATES, EPISODES, KEPT = 200, 4, 32  # with and without replay
STEPS, AGENT_LR = 5000, 3e-3  # of the life of an agent
WORLD = px.tasks.Bandit(delay=10)


def run_of(task: str, **options: Any) -> Callable[[int], dict[str, Any]]:
    """Return what one run of `reward` reaches: seed -> results."""

    def lived(seed: int) -> dict[str, Any]:
        result = px.run(px.Experiment(task=task, rule="reward", rule_options=options, seed=seed))
        return {"return": float(result.summary["test"]["return"])}

    return lived


def episodes_again(replay: int, lr: float, seed: int, traces: str = "rbis") -> dict[str, Any]:
    """Return what `reward` with a critic reaches on the bandit, with and without older episodes."""
    rule = px.rules.Reward(sigma=0.5, critic="linear", lam=1.0, critic_rate=1.0 if replay else 0.1)
    loop = px.closed_loop(rule, WORLD, optax.adam(lr), replay=replay, traces=traces)
    net_key, start_key, key, test_key, valid_key = jr.split(jr.key(seed), 5)
    net = px.Network(stack(px.CELLS["tanh"], WORLD.sizes, (16,), net_key))
    state, of_use = loop.init(net, start_key), []
    for i in range(UPDATES):
        state, _ = loop.update(state, jr.fold_in(key, i), EPISODES)
        if replay:
            of_use.append((int(state.memory.for_critic), int(state.memory.for_actor)))
    return {
        "return": float(loop.play(state.net, test_key).mean()),
        "valid_return": float(loop.play(state.net, valid_key).mean()),
        "of_use": np.mean(of_use, 0).tolist() if replay else None,
    }


def agent(seed: int) -> dict[str, Any]:
    """Return what a px.Agent reaches in one life in Gymnasium's CartPole-v1, an update after every step.

    It is told -1 when the pole falls, else 0: a reward that is always 1 says nothing to a rule that compares
    it with its average. It is judged by its episodes (the last 20), and without noise in px.tasks.CartPole,
    whose numbers are the same.
    """
    import gymnasium

    world = gymnasium.make("CartPole-v1")
    net = px.Network(stack(px.CELLS["tanh"], (4, 2), (16,), jr.key(seed)))
    rule = px.rules.Reward(sigma=0.5, credit="trace", discount=0.97)
    one = px.Agent(net, rule, optax.adam(AGENT_LR), seed=seed)
    seen, returns, total = world.reset(seed=seed)[0], [], 0.0
    for _ in range(STEPS):
        seen, reward, fell, over, _ = world.step(one.act(seen))
        total += float(reward)
        one.learn(-float(fell), ended=fell or over)
        if fell or over:
            seen, total, returns = world.reset()[0], 0.0, [*returns, total]
    judged = px.closed_loop(px.rules.Reward(), px.tasks.CartPole(), optax.sgd(0.0))
    return {
        "return": float(judged.play(one.net, jr.key(10_000 + seed)).mean()),
        "first_episodes": float(np.mean(returns[:20])),
        "last_episodes": float(np.mean(returns[-20:])),
    }


def chosen(measure: Callable[[float, int], dict[str, Any]]) -> tuple[float, dict[str, float]]:
    """Return the learning rate with the highest validation return on the seed for choosing, and all tried."""
    found = {lr: measure(lr, CHOOSING)["valid_return"] for lr in RATES}
    return max(found, key=lambda lr: found[lr]), {f"{lr:g}": value for lr, value in found.items()}


def main() -> None:
    """Run every line, print the table, write it and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file of the results; the table goes into docs/")
    args = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    fixed = {
        "cart-pole, critic linear": run_of("cart-pole", critic="linear"),
        "bandit, critic linear, lam 1": run_of("bandit", critic="linear", lam=1.0),
    }
    try:
        import gymnasium  # noqa: F401

        fixed["px.Agent, CartPole-v1, 5,000 steps"] = agent
    except ImportError:
        print("gymnasium is not installed: px.Agent is left out")
    for name, lived in fixed.items():
        found[name] = {"runs": [lived(seed) for seed in SEEDS]}
        print(name, found[name], flush=True)
    chosen_ones: dict[str, Callable[[float, int], dict[str, Any]]] = {
        "bandit, delay 10, 4 episodes an update": lambda lr, seed: episodes_again(0, lr, seed),
        "the same, replay of 32": lambda lr, seed: episodes_again(KEPT, lr, seed),
    }
    for name, measure in chosen_ones.items():
        lr, tried = chosen(measure)
        found[name] = {"lr": lr, "tried": tried, "runs": [measure(lr, seed) for seed in SEEDS]}
        print(name, found[name], flush=True)
    rows = []
    for name, line in found.items():
        returns = " ".join(f"{run['return']:.3g}" for run in line["runs"])
        rows.append([name, f"{line['lr']:g}" if "lr" in line else "as given", returns])
    text = table(["", "learning rate", "return, by seed"], rows)
    print(on_what(), text, sep="\n\n")
    if args.out:
        save(args.out, {"lines": found})
        PAGE.write_text(with_section(PAGE.read_text(), "episodes", text))


if __name__ == "__main__":
    main()

"""The training step and the evaluation step: the same body under every layout.

Both builders return plain functions of (state, batch). `jax.jit` over a sharded batch needs nothing
else, since the batch is one global array. Under `jax.pmap` each replica sees its own part, and
`axis_name` tells the body where to add the parts up. Only sums are added, never means: dividing by
the global weight makes the numbers the same on any number of devices.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from cnn_jax.train.nonfinite import Rule, all_finite
from cnn_jax.train.state import TrainState, inference_variables
from cnn_jax.typing import Array, Batch, Network, Observed, PyTree, Task

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]
EvalStep = Callable[[TrainState, Batch], Observed]

TOGETHER = 2**16  # largest size of an array that is summed over replicas together with others


def make_train_step(
    model: Network,
    task: Task,
    tx: optax.GradientTransformation,
    *,
    seed: int,
    axis_name: str | None = None,
    augment: Callable[[Array, Batch], Batch] = lambda keys, batch: batch,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    frozen: Callable[[str], bool] | None = None,
    on_nonfinite: Rule | None = None,
    whole: Callable[[PyTree], PyTree] = lambda params: params,
) -> TrainStep:
    """Builds the training step.

    Args:
        model: called as `model(image, train=True)` with an rng stream 'dropout', and with the
            arguments of `task.learns_from`.
        task: the task, with its loss.
        tx: the optimiser. It sees the gradient of the global batch, and does its own clipping.
        seed: seed of the run. The randomness of a step depends on (seed, step, position of the
            example in the global batch); dropout also on the replica.
        axis_name: name of the pmapped axis; None under jit.
        augment: (keys [B], batch) -> batch, on the device; one key per example.
        accumulate: gradient accumulation: number of microbatches of a batch, to save memory.
            Microbatch j holds the examples i with i % accumulate == j, so that every device keeps
            its examples. Batch-norm statistics are those of a microbatch.
        ema_decay: decay of the moving average of the parameters, warmed up as min(decay,
            (1 + step) / (10 + step)); used if the state keeps one.
        frozen: path of a parameter -> whether it is frozen; no gradient is computed for it. The
            network then runs in evaluation mode, with stored statistics and without dropout, so
            that the frozen layers give the features they were trained to give. The optimiser must
            not change the frozen parameters either, see `optim.scale_by_path`.
        on_nonfinite: rule for a step in which the loss, the gradient or anything in the new state
            is not finite, see `cnn_jax.train.nonfinite`; the state must have been made with the
            same policy. None: no rule.
        whole: `whole` of the layout, see `cnn_jax.train.layout.Layout`.

    Returns:
        (state, batch) -> (state, metrics): scalars `loss`, `grad_norm` (before clipping), the
        task's own losses if there are several, what it watches, and with `on_nonfinite` the count
        `nonfinite` of such steps so far, and `spoiled`, whether this is one.

    Raises:
        ValueError: accumulate < 1, or, at the first call, a batch without a mask or one that
            accumulate does not divide.
    """
    if accumulate < 1:
        raise ValueError(f"accumulate={accumulate}; it must be at least 1.")
    model = _with_axis(model, axis_name)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        example_keys = _example_keys(_augment_key(key), batch, axis_name)
        dropout_key = jax.random.fold_in(key, 1)
        if axis_name is not None:
            dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axis_name))

        def forward(model_state: PyTree, micro: Batch, keys: Array, dropout_key: Array):
            """Totals as a function of the parameters, the pullback, weights, and new statistics."""
            micro = augment(keys, micro)

            def totals(params: PyTree):
                params = whole(params)
                if frozen is not None:
                    params = _stop_gradient(params, frozen)
                outputs, new_state = model.apply(
                    {"params": params, **model_state},
                    micro["image"],
                    train=frozen is None,
                    **task.learns_from(micro),
                    rngs={"dropout": dropout_key},
                    mutable=list(model_state),
                )
                means = dict(task.loss(outputs, micro))
                watched = jax.lax.stop_gradient(dict(task.watch(outputs, micro)))
                weights = {name: mean.weight for name, mean in means.items()}
                return (
                    {name: mean.total for name, mean in means.items()},
                    ((weights, watched), new_state),
                )

            return jax.vjp(totals, state.params, has_aux=True)

        if accumulate == 1:
            total, pullback, ((weight, watched), model_state) = forward(
                state.model_state, batch, example_keys, dropout_key
            )
            weight = _global_sum(weight, axis_name)
            (grads,) = pullback(
                jax.tree.map(lambda t, w: _inverse(w).astype(t.dtype), total, weight)
            )
        else:
            total, weight, watched, grads, model_state = _accumulate(
                forward, state, batch, example_keys, dropout_key, accumulate, axis_name
            )
        total, watched, grads = _global_sum((total, watched, grads), axis_name)

        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_params is not None:
            # the warm-up of TensorFlow's ExponentialMovingAverage(num_updates=step)
            decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
            ema_params = optax.incremental_update(params, ema_params, 1 - decay)

        losses = {name: total[name] * _inverse(weight[name]) for name in total}
        metrics = {"loss": sum(losses.values()), "grad_norm": optax.tree.norm(grads)}
        if len(losses) > 1:
            metrics |= losses
        metrics |= {name: mean.total * _inverse(mean.weight) for name, mean in watched.items()}
        content = (params, model_state, opt_state, ema_params)
        guard = state.guard
        if on_nonfinite is not None:
            assert guard is not None, "the state was made without the policy of on_nonfinite"
            finite = all_finite((metrics, content))
            content, guard = on_nonfinite(state.content(), content, guard, state.step + 1, finite)
            metrics |= {"nonfinite": guard.count, "spoiled": ~finite}
        return TrainState(state.step + 1, *content, guard), metrics

    return train_step


def make_eval_step(
    model: Network,
    task: Task,
    *,
    axis_name: str | None = None,
    prepare: Callable[[Batch], Batch] = lambda batch: batch,
    views: Sequence[Callable[[Array], Array]] = (),
) -> EvalStep:
    """Builds the evaluation step: (state, batch) -> Observed, summed over the replicas.

    Args:
        model: called as `model(image, train=False)`.
        task: the task, with its observations.
        axis_name: name of the pmapped axis; None under jit.
        prepare: batch -> batch, on the device: normalisation.
        views: test-time augmentation: images -> images, such as their mirror images. The outputs
            are the mean logits over the images and all their views, as in Jordan 2024,
            arXiv:2404.00498 (Krizhevsky 2012, section 4.1, averages probabilities).
    """

    def eval_step(state: TrainState, batch: Batch) -> Observed:
        batch = prepare(batch)
        variables = inference_variables(state)
        outputs: Any = model.apply(variables, batch["image"], train=False)
        for view in views:
            more = model.apply(variables, view(batch["image"]), train=False)
            outputs = jax.tree.map(jnp.add, outputs, more)
        if views:
            outputs = jax.tree.map(lambda leaf: leaf / (1 + len(views)), outputs)
        sums, rows = task.observe(outputs, batch)
        if axis_name is not None:
            sums = jax.lax.psum(sums, axis_name)
            rows = jax.lax.all_gather(rows, axis_name, tiled=True)
        return Observed(sums, rows)

    return eval_step


def make_shown(
    augment: Callable[[Array, Batch], Batch], *, seed: int, accumulate: int = 1
) -> Callable[[Array | int, Batch], Batch]:
    """Builds what the training step begins with: (step, batch) -> the batch as the network gets it.

    The batch is the global one, under the jit layout. Arguments are those of `make_train_step`.
    """

    def shown(step: Array | int, batch: Batch) -> Batch:
        keys = _example_keys(_augment_key(jax.random.fold_in(jax.random.key(seed), step)), batch)
        if accumulate == 1:
            return augment(keys, batch)
        micro = jax.tree.map(lambda leaf: _cut(leaf, accumulate), (keys, dict(batch)))
        many = jax.lax.map(lambda each: augment(*each), micro)
        return jax.tree.map(_joined, many)

    return shown


def _augment_key(key: Array) -> Array:
    return jax.random.fold_in(key, 0)


def _cut(leaf: Array, count: int) -> Array:
    """[B, ...] -> [count, B / count, ...]: example i is in microbatch i % count."""
    return leaf.reshape(len(leaf) // count, count, *leaf.shape[1:]).swapaxes(0, 1)


def _joined(leaf: Array) -> Array:
    """The inverse of `_cut`."""
    return leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:])


def _with_axis(model: Network, axis_name: str | None) -> Network:
    """The same model, with batch statistics over the pmapped axis as well."""
    if axis_name is None:
        return model
    if not hasattr(model, "axis_name"):
        raise ValueError(
            f"{type(model).__name__} has no field `axis_name`, so its batch norm, if it has one, "
            "would differ from device to device under pmap. Give it the field and pass it to "
            "nn.BatchNorm, or use the jit layout."
        )
    return model.clone(axis_name=axis_name)


def _example_keys(key: Array, batch: Batch, axis_name: str | None = None) -> Array:
    """A key per example by its position in the global batch, whichever device holds it."""
    if "mask" not in batch:
        raise ValueError(
            f"The batch has {', '.join(sorted(batch))}, and no mask: float32 [B], 1 for an example "
            "and 0 for padding. Add mask=np.ones(B, np.float32)."
        )
    size = batch["mask"].shape[0]
    position = jnp.arange(size)
    if axis_name is not None:
        position += size * jax.lax.axis_index(axis_name)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(position)  # [B]


def _accumulate(forward, state, batch, example_keys, dropout_key, count, axis_name):
    """Sums over `count` microbatches; this is exact, since a gradient is linear in its cotangents.

    With one loss, the gradient of its total is summed and divided by the weight at the end. With
    several, each has its own weight, known only at the end, so each gets its own gradient, in one
    vectorised pullback.
    """
    size = batch["mask"].shape[0]
    if size % count:
        raise ValueError(
            f"A batch of {size} examples (on each device, under pmap) cannot be split into "
            f"{count} equal microbatches. Choose a batch size that `accumulate` divides."
        )

    def body(model_state: PyTree, micro):
        index, keys, micro = micro
        total, pullback, ((weight, watched), model_state) = forward(
            model_state, micro, keys, jax.random.fold_in(dropout_key, index)
        )
        grads = []
        for name in total:
            one_hot = {other: jnp.ones_like(t) * (other == name) for other, t in total.items()}
            grads += pullback(one_hot)
        return model_state, (total, weight, watched, dict(zip(total, grads, strict=True)))

    microbatches = (
        jnp.arange(count),
        *jax.tree.map(lambda leaf: _cut(leaf, count), (example_keys, dict(batch))),
    )
    first = jax.tree.map(lambda leaf: leaf[0], microbatches)
    shapes = jax.eval_shape(body, state.model_state, first)[1]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(carry, micro):
        model_state, sums = carry
        model_state, terms = body(model_state, micro)
        return (model_state, jax.tree.map(jnp.add, sums, terms)), None

    (model_state, (total, weight, watched, grads)), _ = jax.lax.scan(
        add, (state.model_state, zeros), microbatches
    )
    weight = _global_sum(weight, axis_name)
    scaled = [
        jax.tree.map(lambda leaf, name=name: leaf * _inverse(weight[name]), grads[name])
        for name in grads
    ]
    grads = jax.tree.map(lambda *leaves: sum(leaves), *scaled)
    return total, weight, watched, grads, model_state


def _stop_gradient(params: PyTree, frozen: Callable[[str], bool]) -> PyTree:
    def stop(path, leaf: Array) -> Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return jax.lax.stop_gradient(leaf) if frozen(name) else leaf

    return jax.tree_util.tree_map_with_path(stop, params)


def _inverse(weight: Array) -> Array:
    """1 / weight, or 0 for an empty batch."""
    return jnp.where(weight > 0, 1 / jnp.maximum(weight, jnp.finfo(weight.dtype).tiny), 0)


def _global_sum(tree: PyTree, axis_name: str | None) -> PyTree:
    """The sum over the replicas. Small arrays are sent as one.

    Between processes each array is a separate message, which costs up to milliseconds, and most of
    a network's arrays are biases, scales and offsets. Joining large ones would only cost copies.
    """
    if axis_name is None:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    small = {i: leaf for i, leaf in enumerate(leaves) if leaf.size <= TOGETHER}
    large = {i: leaf for i, leaf in enumerate(leaves) if leaf.size > TOGETHER}
    vector, taken_apart = ravel_pytree(small)
    vector, large = jax.lax.psum((vector, large), axis_name)
    summed = large | taken_apart(vector)
    return jax.tree.unflatten(structure, [summed[i] for i in range(len(leaves))])

# %% train, and be interrupted after the first steps
import contextlib
import signal

from cnn_jax import data, run


class Impatient(run.Program):
    def until_started(self, then):
        return contextlib.nullcontext(lambda: signal.raise_signal(signal.SIGINT))


recipe = run.Recipe(dataset="digits", model="mlp", steps=60, figures=False, compilation_cache="")
stopped = run.train(recipe, workdir="digits", program=Impatient())
assert stopped.interrupted
assert stopped.step < 60

# %% resume
result = run.train(recipe, workdir="digits")
assert result.interrupted is None
assert result.step == 60
print(result.metrics["accuracy"], result.place)

# %% evaluate, on the run's own data and on others
assert run.evaluate(result.place, checkpoint="last") == result.metrics
print(run.evaluate(result.place, split="train[:100]"))

# %% open it again, and predict
found = run.open(result.place)
print(found.facts.model, found.step, found.recipe.steps)
source = data.load_source("digits", "test")
batch = data.eval_batches(source, data.image_loader(source), batch_size=100)[0]
answers = found.predict(batch["image"])
right = sum(one.label == label for one, label in zip(answers, batch["label"], strict=True))
print(answers[0].top(3), right)
assert right > 50

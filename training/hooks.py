"""What happens around the steps of a run: log, measure held-out agreement, save, stop, finish."""

import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from training.checkpointing import Trainer, save_checkpoint
from training.diagnostics.agreement import AgreementMeter, format_rows
from training.diagnostics.quick import quick_measures
from training.distributed import any_process, mean_of_processes, sum_of_processes
from training.errors import UserError
from training.loader import ViewBatch
from training.run_folder import RunFolder, write_json
from training.settings import PretrainConfig

T = TypeVar("T")

MAX_OVERFLOWS = 30  # fp16 steps in a row; the scaler halves its scale each time, from 65536 to below 1e-4


class Hooks:
    """Everything of a run that is not the step itself; each part decides on its own when it is due.

    Args:
        config: settings of the run.
        run: where logs and checkpoints go; only the main process writes.
        trainer: what is trained.
        held_out: views of held-out frames.
    """

    def __init__(self, config: PretrainConfig, run: RunFolder, trainer: Trainer, held_out: ViewBatch) -> None:
        self.config, self.run, self.trainer, self.held_out = config, run, trainer, held_out
        self.accelerator, self.objective, self.optimizer = trainer.accelerator, trainer.objective, trainer.optimizer
        self.meter = AgreementMeter()
        self.stop_requested = False
        self._prepared: list[Any] = []
        self._losses: list[dict[str, Tensor]] = []
        self._norms: list[Tensor] = []
        self._overflows = 0

    def begin(self, step: int, seconds: float) -> None:
        """Start clocks, trackers and the progress bar at `step`; `seconds` were spent before by the same run."""
        self._first_step, self._seconds_before = step, seconds
        self._started = self._window_started = time.perf_counter()
        self._waited = 0.0
        self._window_step = step
        self.accelerator.init_trackers("tensorboard")
        if self.accelerator.is_main_process:
            self.run.rewind_log(step if step else -1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        self._bar = tqdm(
            total=self.config.max_steps, initial=step, unit="step", disable=not self.accelerator.is_main_process
        )
        if step == 0:
            self._measure(step)

    def timed(self, steps: Iterator[T]) -> Iterator[T]:
        """The same steps; the time in which the loop waits for their data is counted."""
        while True:
            started = time.perf_counter()
            step = next(steps, None)
            self._waited += time.perf_counter() - started
            if step is None:
                return
            yield step

    @property
    def seconds(self) -> float:
        """Training time of this run so far, earlier parts included."""
        return self._seconds_before + time.perf_counter() - self._started

    def refuse_nonfinite(self, step: int, norm: Tensor, losses: dict[str, Tensor], batch: ViewBatch) -> None:
        """Stop before a step on a loss or gradient that is not finite, and keep what led to it for a look.

        With fp16 the scaler itself passes over steps whose gradients overflow, and halves its scale; only many of them
        in a row are refused.
        """
        values = torch.stack([*losses.values(), norm])
        if bool(values.isfinite().all()):
            self._overflows = 0
            return
        culprits = [name for name, value in losses.items() if not bool(torch.isfinite(value))]
        if self.accelerator.scaler is not None and not culprits:
            self._overflows += 1
            if self._overflows < MAX_OVERFLOWS:
                return
        folder = self.run.path / f"nonfinite_step{step}_rank{self.accelerator.process_index}"
        folder.mkdir(parents=True, exist_ok=True)
        views = {"images": batch.images, "numbers": batch.numbers, "clips": batch.clips, "valid": batch.valid}
        save_file(
            {name: part.detach().cpu().contiguous() for name, part in views.items()}, folder / "batch.safetensors"
        )
        state = {name: part for name, part in self.objective.state_dict().items() if isinstance(part, Tensor)}
        save_file({name: part.cpu().clone() for name, part in state.items()}, folder / "state.safetensors")
        shown = {name: float(value) for name, value in losses.items()} | {"gradient_norm": float(norm)}
        write_json(folder / "losses.json", {name: repr(value) for name, value in shown.items()})
        what = f"the loss of {', '.join(culprits)}" if culprits else "the gradient norm"
        raise UserError(
            f"{what} is not finite at step {step}; batch, losses and weights are kept in {str(folder)!r}, no step was "
            "taken"
        )

    def after_step(self, step: int, losses: dict[str, Tensor], norm: Tensor) -> None:
        """Log, measure and save, each when due; leave the process after a save when a stop was asked for."""
        log = self.config.log
        self._losses.append(losses)
        self._norms.append(norm.detach())
        self._bar.update()
        last = step == self.config.max_steps
        stop = any_process(self.stop_requested, self.accelerator.device)
        if step % log.every == 0 or last:
            self._log(step)
        if step % log.eval_every == 0 or last:
            self._measure(step)
        if log.diagnose_every and (step % log.diagnose_every == 0 or last):
            self._diagnose(step)
        if step % log.save_every == 0 or last or stop:
            save_checkpoint(self.run.checkpoints, step, self.seconds, self.trainer, log.keep_last)
            self.accelerator.wait_for_everyone()
        if stop and not last:
            self._bar.close()
            self.accelerator.print(f"stopped at step {step} as asked; the same command continues from here")
            raise SystemExit(143)

    def close(self) -> None:
        """Close the progress bar and the trackers."""
        self._bar.close()
        self.accelerator.end_training()

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True
        # A second signal ends the process at once.
        signal.signal(number, signal.SIG_DFL)

    def _log(self, step: int) -> None:
        now = time.perf_counter()
        frames = (step - self._window_step) * self.config.frames_per_step
        means = {
            name: float(mean_of_processes(torch.stack([losses[name] for losses in self._losses]).mean()))
            for name in self._losses[0]
        }
        row: dict[str, Any] = {
            "step": step,
            "split": "train",
            "loss_total": sum(means.values()),
            **{f"loss/{name}": value for name, value in means.items()},
            "lr": self.optimizer.param_groups[0]["lr"],
            "grad_norm": float(torch.stack(self._norms).mean()),
            "frames_per_second": frames / (now - self._window_started),
            "waiting_for_data": self._waited / (now - self._window_started),
        }
        self._waited = 0.0
        self._losses, self._norms, self._window_started, self._window_step = [], [], now, step
        self._write(step, "train", self.meter.rows(sum_of_processes), [row])
        speed = f"{row['frames_per_second']:.1f} frames/s, {row['waiting_for_data']:.0%} waiting for data"
        self._bar.set_postfix_str(f"loss {row['loss_total']:.3f}, {speed}")

    @torch.no_grad()
    def _measure(self, step: int) -> None:
        """Agreement with every teacher on held-out frames, without augmentation."""
        started = time.perf_counter()
        meter = AgreementMeter()
        self.objective.student.eval()
        chunks = self.held_out.split(self.config.batch_size * self.config.data.frames_per_clip)
        sums: dict[str, Tensor] = {}
        for number, chunk in enumerate(part.to(self.accelerator.device) for part in chunks):
            if number == len(self._prepared):
                # Teachers are frozen and these frames never change: ask once.
                self._prepared.append(self.objective.prepare(chunk))
            for name, loss in self.objective(chunk, self._prepared[number], meter).items():
                sums[name] = sums.get(name, torch.zeros_like(loss)) + loss * len(chunk.images)
        self.objective.student.train()
        rows = meter.rows()
        losses = {f"loss/{name}": float(total) / len(self.held_out.images) for name, total in sums.items()}
        self._write(step, "held_out", rows, [] if rows else [{"step": step, "split": "held_out", **losses}])
        if self.accelerator.is_main_process:
            shown = format_rows(rows) if rows else "\n".join(f"  {name} {value:.4f}" for name, value in losses.items())
            what = "agreement with the teachers" if rows else "losses"
            self._bar.write(f"step {step}: {what} on held-out cases\n{shown}")
        self._window_started += time.perf_counter() - started

    def _diagnose(self, step: int) -> None:
        """What the student's features are like on held-out frames, without any teacher."""
        started = time.perf_counter()
        measures = quick_measures(self.objective, self.held_out.images)
        row = {"step": step, "split": "held_out", **{f"diagnostics/{name}": value for name, value in measures.items()}}
        self._write(step, "held_out", [], [row])
        self._window_started += time.perf_counter() - started

    def _write(self, step: int, split: str, rows: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
        if self.accelerator.is_main_process:
            self.run.append_log([{"step": step, "split": split, **row} for row in rows] + more)
        scalars = {
            f"{split}/{row['teacher']}/{row['tokens']}/{key}": value
            for row in rows
            for key, value in row.items()
            if key not in ("teacher", "tokens")
        }
        for row in more:
            scalars |= {f"{split}/{key}": value for key, value in row.items() if key not in ("step", "split")}
        self.accelerator.log(scalars, step=step)

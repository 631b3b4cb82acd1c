"""What happens around the steps of a run: log, measure held-out agreement, save, stop, finish."""

import signal
import time
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from training.checkpointing import save_checkpoint
from training.diagnostics import AgreementMeter, format_rows
from training.errors import UserError
from training.loader import ViewBatch
from training.objectives.objective import Objective
from training.run_folder import RunFolder
from training.settings import PretrainConfig


class Hooks:
    """Everything of a run that is not the step itself; each part decides on its own when it is due.

    Args:
        config: settings of the run.
        accelerator: the process group; only its main process writes.
        run: where logs and checkpoints go.
        objective: the unwrapped objective with the student inside.
        optimizer: its optimiser, for checkpoints.
        held_out: views of held-out frames.
    """

    def __init__(
        self,
        config: PretrainConfig,
        accelerator: Accelerator,
        run: RunFolder,
        objective: Objective,
        optimizer: Optimizer,
        held_out: ViewBatch,
    ) -> None:
        self.config, self.accelerator, self.run = config, accelerator, run
        self.objective, self.optimizer, self.held_out = objective, optimizer, held_out
        self.meter = AgreementMeter()
        self.stop_requested = False
        self._prepared: list[Any] = []
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []

    def begin(self, step: int, seconds: float) -> None:
        """Start clocks, trackers and the progress bar at `step`; `seconds` were spent before by the same run."""
        self._first_step, self._seconds_before = step, seconds
        self._started = self._window_started = time.perf_counter()
        self._window_step = step
        self.accelerator.init_trackers("tensorboard")
        self.run.rewind_log(step if step else -1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        self._bar = tqdm(
            total=self.config.max_steps, initial=step, unit="step", disable=not self.accelerator.is_main_process
        )
        if step == 0:
            self._measure(step)

    @property
    def seconds(self) -> float:
        """Training time of this run so far, earlier parts included."""
        return self._seconds_before + time.perf_counter() - self._started

    def refuse_nonfinite(
        self, step: int, loss: Tensor, norm: Tensor, losses: dict[str, Tensor], images: Tensor
    ) -> None:
        """Stop before a step on a loss or gradient that is not finite, and keep the batch for a look."""
        if bool(torch.isfinite(loss) & torch.isfinite(norm)):
            return
        path = self.run.path / f"nonfinite_batch_step{step}_rank{self.accelerator.process_index}.safetensors"
        save_file({"images": images.detach().cpu().contiguous()}, path)
        culprits = [name for name, value in losses.items() if not bool(torch.isfinite(value))]
        what = f"the loss of {', '.join(culprits)}" if culprits else "the gradient norm"
        raise UserError(f"{what} is not finite at step {step}; the batch is kept in {str(path)!r}, no step was taken")

    def after_step(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Log, measure and save, each when due; leave the process after a save when a stop was asked for."""
        log = self.config.log
        self._losses.append(loss.detach())
        self._norms.append(norm.detach())
        self._bar.update()
        last = step == self.config.max_steps
        if step % log.every == 0 or last:
            self._log(step)
        if step % log.eval_every == 0 or last:
            self._measure(step)
        if step % log.save_every == 0 or last or self.stop_requested:
            self._save(step)
        if self.stop_requested and not last:
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
        row: dict[str, Any] = {
            "step": step,
            "split": "train",
            "loss_total": float(torch.stack(self._losses).mean()),
            "lr": self.optimizer.param_groups[0]["lr"],
            "grad_norm": float(torch.stack(self._norms).mean()),
            "frames_per_second": frames / (now - self._window_started),
        }
        self._losses, self._norms, self._window_started, self._window_step = [], [], now, step
        self._write(step, "train", self.meter.rows(), [row])
        speed = f"{row['frames_per_second']:.1f} frames/s"
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

    def _save(self, step: int) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.run.checkpoints, step, self.seconds, self.objective, self.optimizer, self.config.log.keep_last
            )
        self.accelerator.wait_for_everyone()

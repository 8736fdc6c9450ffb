"""One gradient update of soft actor-critic (Haarnoja et al. 2019, arXiv 1812.05905), on flat tensors.

The gradients of critics, actor and temperatures are all taken at the same parameters and applied by one Adam step. (The
paper applies the critics' first; one pass of the critics then serves both losses here.)
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from skills.learners.batch_norm import BatchNorm
from skills.learners.config import SacConfig
from skills.learners.gaussian import SquashedAction, squash
from skills.learners.minibatch import Minibatch
from skills.learners.networks import Trunk, bind, initialise, parameter_count
from skills.learners.offline import ImplicitValues, advising


class SacCore:
    """Actor, critics, temperatures and their optimiser: all that a gradient update changes."""

    def __init__(
        self, input_width: int, actions: int, skills: int, config: SacConfig, generator: torch.Generator
    ) -> None:
        """Make new networks.

        Args:
            input_width: width I of observation and command.
            actions: width A of an action.
            skills: number K of skills, each with a temperature of its own.
            config: settings.
            generator: of the first weights, of dropout, and of the critics that make a target; on the CPU.
        """
        self.config = config
        self._generator = generator
        self._device = torch.device(config.device)
        self._actions = actions
        self.learning_rate = config.learning_rate
        """Of the next updates."""
        self.entropy_target = config.target_entropy * actions
        """What the entropy of every skill is steered to, in nat."""
        self.actor_sizes = (input_width, *config.hidden, 2 * actions)
        """Layer widths of the actor."""
        self.critic_sizes = (input_width + actions, *config.hidden, 1)
        """Layer widths of a critic."""
        with self._device:
            self.shown = torch.ones(skills)
            """1 for each skill that stored steps show; read only where nothing is tried. Shape: (K,)."""
            self._build_parameters(skills)
            self._build_buffers()
        self.reset()

    def reset(self) -> None:
        """New networks, first temperatures, and an optimiser that has forgotten everything."""
        c = self.config
        self.bank.zero_()
        for flat, members, sizes in (
            (self.actor_flat, 1, self.actor_sizes),
            (self._critic_flat, c.ensemble, self.critic_sizes),
        ):
            drawn = torch.empty(len(flat))  # on the CPU, so that every device begins with the same weights
            initialise(bind(drawn, members, sizes), self._generator)
            flat.copy_(drawn)
        self.actor[-1].weight.mul_(c.output_gain)
        self.actor[-1].bias.mul_(c.output_gain)
        self.actor[-1].bias[..., self._actions :] += math.log(c.initial_std)
        self.log_alpha.fill_(math.log(c.initial_temperature))
        if self._batch_norm:
            self._batch_norm.reset()
        else:
            self._target_flat.copy_(self._critic_flat)

    def forget_moments(self) -> None:
        """Clear the optimiser's moments and step count; the networks stay as they are."""
        self._moments.zero_()

    def step(self, minibatch: Minibatch) -> None:
        """One gradient update; actor and temperatures take no part in the first `SacConfig.actor_delay`."""
        self._learn(minibatch)
        self._move()

    def offline_step(self, minibatch: Minibatch, values: ImplicitValues | None) -> None:
        """The same where nothing is tried: the actor is held to what was done, or to its prior.

        Args:
            minibatch: what is learned from.
            values: what the next state is judged by; None: by the actor's own action there.
        """
        batch = self.config.batch
        done, prior = minibatch.inputs[batch : 2 * batch, : self._actions], minibatch.prior[:batch].tanh()
        seen = torch.mv(minibatch.skill, self.shown)[:, None] > 0
        held = torch.where(seen, done, prior)
        self._learn(advising(minibatch, held), self.config.offline_imitation, values)
        self._move()

    def _move(self) -> None:
        waits = self.config.actor_delay and float(self._step) < self.config.actor_delay
        if waits:
            self._adam_critics_alone()
        else:
            self._adam()
        self._follow()

    def settled_step(self, minibatch: Minibatch) -> None:
        """The same while the core `repeats`, without a look at any number, which would make the CPU wait for a GPU."""
        self._learn(minibatch)
        self._adam()
        self._follow()

    def _learn(
        self, minibatch: Minibatch, imitation: float | None = None, values: ImplicitValues | None = None
    ) -> None:
        """The gradients of everything."""
        imitation = self.config.imitation if imitation is None else imitation
        batch, actions = self.config.batch, self._actions
        alpha = torch.mv(minibatch.skill, self.log_alpha.exp())
        drawn = self._act(minibatch)
        minibatch.inputs[:batch, :actions] = drawn.action[:batch]
        minibatch.inputs[2 * batch :, :actions] = drawn.action[batch:]
        q = self._evaluate(minibatch)
        if values is None:
            target = self._soft_target(minibatch, self._next_values(minibatch, q), alpha, drawn.log_prob[batch:])
        else:
            target = values.target(minibatch, self._target_values(minibatch, q, 1).amin(0))
        action_grad = self._learn_critic(minibatch, q, target)
        if imitation:
            self._imitate(minibatch, q, drawn.action[:batch], action_grad, imitation)
        self._learn_actor(minibatch, alpha, action_grad, drawn)
        # Temperature, per skill: J(alpha) = -log(alpha) E[log pi + target entropy]  (eq. 18, in log alpha).
        self._log_prob.copy_(drawn.log_prob[:batch])
        excess = (self._log_prob + self.entropy_target).mul_(-1.0 / batch)
        torch.mv(minibatch.skill.T, excess, out=self.log_alpha_grad)

    def _follow(self) -> None:
        """The target critics move towards the critics."""
        if not self._batch_norm:
            self._target_flat.lerp_(self._critic_flat, self.config.tau)

    @property
    def repeats(self) -> bool:
        """Whether from now on every update does the same to other numbers, until new networks or moments begin."""
        c = self.config
        varies = c.batch_norm or c.dropout or 0 < c.target_subset < c.ensemble
        return not varies and float(self._step) >= c.actor_delay

    def figures(self) -> dict[str, float]:
        """What the last minibatch showed."""
        batch = self.config.batch
        error = self._critic_trunk.out_grad[:, batch : 2 * batch] * batch
        q, alpha = self._critic_trunk.out[:, batch : 2 * batch], self.log_alpha.exp()
        return {
            "critic_loss": 0.5 * float(error.square().mean()),
            "q_mean": float(q.mean()),
            "q_size": float(q.abs().max()),
            "entropy": -float(self._log_prob.mean()),
            "temperature": float(alpha.mean()),
            "grad_norm": float(self._grad.norm()),
            **{f"temperature_{index}": value for index, value in enumerate(alpha.tolist())},
        }

    def _build_parameters(self, skills: int) -> None:
        """One tensor holds all that learning changes; parameters and gradients are each in one piece."""
        c = self.config
        actor = parameter_count(1, self.actor_sizes)
        critic = parameter_count(c.ensemble, self.critic_sizes)
        learned = actor + critic + skills
        running = BatchNorm.running_size(c.ensemble, c.hidden) if c.batch_norm else 0
        target = 0 if c.batch_norm else critic
        self.bank = torch.zeros(3 * learned + target + running + 1)
        """Parameters, target critics, running statistics, Adam's moments and step count."""
        parameters, self._target_flat, running_flat, self._moments = torch.split_with_sizes(
            self.bank, [learned, target, running, 2 * learned + 1]
        )
        first, second, step = torch.split_with_sizes(self._moments, [learned, learned, 1])
        self._step = step[0]
        self._grad = torch.zeros(learned)
        self.actor_flat, self._critic_flat, self.log_alpha = torch.split_with_sizes(parameters, [actor, critic, skills])
        actor_grad, critic_grad, self.log_alpha_grad = torch.split_with_sizes(self._grad, [actor, critic, skills])
        self.actor = bind(self.actor_flat, 1, self.actor_sizes)
        self.actor_grads = bind(actor_grad, 1, self.actor_sizes)
        self.critic = bind(self._critic_flat, c.ensemble, self.critic_sizes)
        self.critic_grads = bind(critic_grad, c.ensemble, self.critic_sizes)
        self.target = bind(self._target_flat, c.ensemble, self.critic_sizes) if target else []
        self._batch_norm = BatchNorm(running_flat, c.ensemble, c.hidden, c.batch) if running else None
        none: list[Tensor] = []
        self._adam_lists = [parameters], [self._grad], [first], [second], none, [self._step]

    def _build_buffers(self) -> None:
        """Everything an update writes, made once."""
        c, batch = self.config, self.config.batch
        masks = self._generator
        if self._device.type != "cpu":
            masks = torch.Generator(self._device).manual_seed(self._generator.initial_seed())
        trunk = partial(Trunk, layer_norm=c.layer_norm, dropout=c.dropout, generator=masks)
        # Rows of the actor: s, s'. Of the critics: (s, u), (s, a) and with batch normalisation (s', u'), which then is
        # learned from too: both make the statistics.
        self._actor_trunk = Trunk(1, self.actor_sizes, 2 * batch, graded=batch, learned=slice(batch))
        rows = (3 if c.batch_norm else 2) * batch
        self._critic_trunk = trunk(
            c.ensemble,
            self.critic_sizes,
            rows,
            graded=rows,
            learned=slice(batch, rows),
            batch_norm=self._batch_norm,
        )
        if not self._batch_norm:
            self._target_trunk = trunk(c.target_subset or c.ensemble, self.critic_sizes, batch)
        if c.actor_mean:
            self._critic_trunk.out_grad[:, :batch] = -1.0 / (batch * c.ensemble)
        self._action_grad = torch.zeros(batch, self._actions)
        # Views of the critics' first layer, by member: making one costs as much as a small product.
        first = self._critic_trunk.first
        self._first_rows = [(rows[:batch], rows[batch : 2 * batch], rows[: 2 * batch]) for rows in first]
        self._first_parts = [(full[: self._actions], full[self._actions :]) for full in self.critic[0].members]
        self._passed_grads = [
            (grad[:batch], by_action.T)
            for grad, (by_action, _) in zip(self._critic_trunk.first_grad, self._first_parts, strict=True)
        ]
        self._log_prob = torch.zeros(batch)
        self._held = torch.zeros(len(self.actor_flat) + len(self.log_alpha))

    def _adam(self) -> None:
        """One step of Adam (Kingma and Ba 2015, arXiv 1412.6980), all parameters at once, in torch's own kernel."""
        self._step.add_(1.0)
        torch._fused_adam_(
            *self._adam_lists,
            lr=self.learning_rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def _adam_critics_alone(self) -> None:
        """One step that leaves actor and temperatures as they are; their moments go on, so that they start smoothly."""
        self._held[: len(self.actor_flat)] = self.actor_flat
        self._held[len(self.actor_flat) :] = self.log_alpha
        self._adam()
        self.actor_flat.copy_(self._held[: len(self.actor_flat)])
        self.log_alpha.copy_(self._held[len(self.actor_flat) :])

    def _act(self, minibatch: Minibatch) -> SquashedAction:
        """Actions of the current actor at the observations and the next ones."""
        observed = minibatch.inputs[self.config.batch :, self._actions :]
        torch.mm(observed, self.actor[0].members[0], out=self._actor_trunk.first[0])
        out = self._actor_trunk.forward(self.actor)[0]
        return squash(out, minibatch.prior, minibatch.noise, self.config.log_std_min, self.config.log_std_max)

    def _evaluate(self, minibatch: Minibatch) -> Tensor:
        """The critics at (s, u) and (s, a), with batch normalisation at (s', u') too. Shape: (E, rows)."""
        batch, actions, inputs = self.config.batch, self._actions, minibatch.inputs
        observed, acted = inputs[:batch, actions:], inputs[: 2 * batch, :actions]
        for (at_u, at_a, both), (by_action, by_observed) in zip(self._first_rows, self._first_parts, strict=True):
            # The critics see each observation twice, with the actor's action and the stored one: its product is shared.
            torch.mm(observed, by_observed, out=at_u)
            at_a.copy_(at_u)
            both.addmm_(acted, by_action)
        if self._batch_norm:
            following = inputs[2 * batch :]
            for first, parameters in zip(self._critic_trunk.first, self.critic[0].members, strict=True):
                torch.mm(following, parameters, out=first[2 * batch :])
            self._batch_norm.begin(int(self._step))
        return self._critic_trunk.forward(self.critic)[..., 0]

    def _next_values(self, minibatch: Minibatch, q: Tensor) -> Tensor:
        """Q'_j(s', u') of the critics that make the target. Shape: (E or the subset's size, B)."""
        return self._target_values(minibatch, q, 2)

    def _target_values(self, minibatch: Minibatch, q: Tensor, block: int) -> Tensor:
        """Q'_j of one block of the inputs: 1 is (s, a), 2 is (s', u')."""
        c, rows = self.config, slice(block * self.config.batch, (block + 1) * self.config.batch)
        chosen = list(range(c.ensemble))
        if 0 < c.target_subset < c.ensemble:
            chosen = torch.randperm(c.ensemble, generator=self._generator)[: c.target_subset].tolist()
        if self._batch_norm:
            return q[chosen, rows]
        judged, first = minibatch.inputs[rows], self.target[0].members
        for into, member in zip(self._target_trunk.first, chosen, strict=True):
            torch.mm(judged, first[member], out=into)
        return self._target_trunk.forward(self.target, chosen)[..., 0]

    @staticmethod
    def _soft_target(minibatch: Minibatch, following: Tensor, alpha: Tensor, log_prob: Tensor) -> Tensor:
        """Target y = r + gamma (1 - d) (min_j Q'_j(s', u') - alpha log pi(u' | s'))  (eqs. 2, 3, 5). Shape: (B,)."""
        value = following.amin(0).sub_(alpha * log_prob)
        return value.mul_(minibatch.discount).add_(minibatch.reward)

    def _learn_critic(self, minibatch: Minibatch, q: Tensor, target: Tensor) -> Tensor:
        """Gradients of the critics' loss 1/2 E[(Q_j - y)^2]; returns d(-E[Q(s, u)]) / du. Shape: (B, A).

        Q is the smallest of the critics, or their mean.
        """
        batch, trunk = self.config.batch, self._critic_trunk
        grad = trunk.out_grad[..., 0]
        torch.sub(q[:, batch : 2 * batch], target, out=grad[:, batch : 2 * batch]).div_(batch)
        if not self.config.actor_mean:
            smallest = q[:, :batch].argmin(0, keepdim=True)
            grad[:, :batch].zero_().scatter_(0, smallest, -1.0 / batch)
        trunk.backward(self.critic, self.critic_grads)
        inputs = minibatch.inputs[batch : grad.shape[1]].T
        action_grad = self._action_grad.zero_()
        for learned, into in zip(trunk.first_learned, self.critic_grads[0].members, strict=True):
            torch.mm(inputs, learned, out=into)
        for passed, by_action in self._passed_grads:
            action_grad.addmm_(passed, by_action)
        return action_grad

    def _imitate(self, minibatch: Minibatch, q: Tensor, action: Tensor, by_action: Tensor, imitation: float) -> None:
        """Add d(w E[|u - a|^2 / A]) / du where an action a is advised. Shapes: (B, A)."""
        batch = self.config.batch
        weight = imitation * 2.0 / (batch * self._actions) * q[:, batch : 2 * batch].amin(0).abs().mean()
        by_action.addcmul_(action - minibatch.advice, (minibatch.advised * weight)[:, None])

    def _learn_actor(self, minibatch: Minibatch, alpha: Tensor, by_action: Tensor, drawn: SquashedAction) -> None:
        """Gradients of the actor's loss E[alpha log pi(u | s) - Q(s, u)]  (eq. 7), by reparametrisation."""
        batch, c = self.config.batch, self.config
        action, log_std, spread = (part[:batch] for part in (drawn.action, drawn.log_std, drawn.spread))
        share = alpha[:, None] / batch
        # d log pi / dx = 2 u through -log(1 - tanh(x)^2); d log pi / d log std = -1 besides what goes through x.
        by_x = by_action.addcmul_(by_action, action.square(), value=-1.0).addcmul_(action, share, value=2.0)
        grad = self._actor_trunk.out_grad[0]
        grad[:, : self._actions] = by_x
        inside = (log_std > c.log_std_min).logical_and_(log_std < c.log_std_max)
        torch.mul(by_x.mul_(spread).sub_(share), inside, out=grad[:, self._actions :])
        self._actor_trunk.backward(self.actor, self.actor_grads)
        observed = minibatch.inputs[:batch, self._actions :]
        torch.mm(observed.T, self._actor_trunk.first_learned[0], out=self.actor_grads[0].members[0])

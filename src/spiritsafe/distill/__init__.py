"""Distilling: losses against a live teacher, exact over the whole vocabulary.

In: a frozen teacher and a student in training. Out: gradients. :class:`TracesObjective` (no teacher needed) is the
training room's, named here because it is the first rung of every ladder.
"""

from spiritsafe.distill.loss_head import ForwardKLResult, TeacherRows, forward_kl_head
from spiritsafe.distill.objectives import ForwardKLObjective
from spiritsafe.training.objective import TracesObjective

__all__ = ["ForwardKLObjective", "ForwardKLResult", "TeacherRows", "TracesObjective", "forward_kl_head"]

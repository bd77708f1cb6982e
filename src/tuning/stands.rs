//! What shuts each target out at each time: its own breaker, or its provider's.

use super::scene::Scene;
use crate::base::Moment;
use crate::health::State;

/// See the module's text.
pub(super) struct Stands<'a> {
    scene: &'a Scene,
    /// Of each provider's own breaker and of each target's.
    own: Vec<State>,
    targets: Vec<State>,
    /// By the target's number: how it stood, from each time on.
    pub(super) lines: Vec<Vec<(Moment, State)>>,
}

impl<'a> Stands<'a> {
    /// All closed.
    pub(super) fn new(scene: &'a Scene) -> Self {
        Self {
            scene,
            own: vec![State::Closed; scene.providers.len()],
            targets: vec![State::Closed; scene.targets.len()],
            lines: vec![vec![(Moment::START, State::Closed)]; scene.targets.len()],
        }
    }

    /// How a target stands at present.
    pub(super) fn of(&self, target: usize) -> State {
        let own = self.own[self.scene.targets[target].provider];
        match (own, self.targets[target]) {
            (State::Open, _) | (_, State::Open) => State::Open,
            (State::HalfOpen, _) | (_, State::HalfOpen) => State::HalfOpen,
            (State::Closed, State::Closed) => State::Closed,
        }
    }

    /// A breaker moves: a target's, or its provider's own.
    pub(super) fn step(&mut self, provider: usize, target: Option<usize>, to: State, at: Moment) {
        match target {
            Some(target) => {
                self.targets[target] = to;
                self.note(target, at);
            }
            None => {
                self.own[provider] = to;
                let scene = self.scene;
                scene.providers[provider].targets.iter().for_each(|target| self.note(*target, at));
            }
        }
    }

    /// All of a provider's breakers are new.
    pub(super) fn anew(&mut self, provider: usize, at: Moment) {
        let scene = self.scene;
        scene.providers[provider].targets.iter().for_each(|target| self.targets[*target] = State::Closed);
        self.step(provider, None, State::Closed, at);
    }

    fn note(&mut self, target: usize, at: Moment) {
        let state = self.of(target);
        let line = &mut self.lines[target];
        if line.last().is_none_or(|(_, known)| *known != state) {
            line.push((at, state));
        }
    }
}

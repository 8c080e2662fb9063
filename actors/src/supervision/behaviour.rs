//! What an actor of ours is: plain state, one message type, rebuilt from its `Args` after a crash.

use super::{ctx::Ctx, exit::ChildExit};

/// An actor. Nothing here is asynchronous: whatever must be waited for comes back as a message, so a handler runs to its end,
/// and state is never seen half-changed. A panic in any of these functions costs the value and the message in hand, no more.
pub trait Behaviour: Sized + 'static {
    /// The kind, in `snake_case`: `queue_partition`, `flow_run`.
    const KIND: &'static str;
    type Msg: Send + 'static;
    /// What a fresh value is made of: ids, and ports as `Arc<dyn …>`.
    type Args: Clone + Send + 'static;

    /// Makes the value, at the first start and at each restart alike. Timers and children of an earlier value are gone.
    fn start(args: &Self::Args, ctx: &mut Ctx<'_, Self>) -> Self;

    fn handle(&mut self, msg: Self::Msg, ctx: &mut Ctx<'_, Self>);

    /// Names what the message is about, if it may be what kills the actor.
    fn poison_key(_msg: &Self::Msg) -> Option<String> {
        None
    }

    /// Messages with this key have killed the actor as often as its specification allows; the last time was `failure`. Such
    /// messages are not handled any more: this is called once after the restart, and for each that still arrives.
    fn poisoned(&mut self, _key: &str, _failure: &str, _ctx: &mut Ctx<'_, Self>) {}

    /// A child of this value (`Ctx::spawn_child`) has ended.
    fn child_exited(&mut self, _child: ChildExit, _ctx: &mut Ctx<'_, Self>) {}

    /// The supervisor or parent asks for an orderly stop. The default stops at once; an actor that must finish something first
    /// calls `Ctx::stop` when it has, within the shutdown timeout. Messages are handled meanwhile.
    fn shutdown(&mut self, ctx: &mut Ctx<'_, Self>) {
        ctx.stop();
    }

    /// The last call of an orderly stop. Never called when the actor panicked, failed, was killed or lost.
    fn stopping(&mut self, _ctx: &mut Ctx<'_, Self>) {}

    /// One word for the registry, read after each message.
    fn state(&self) -> &'static str {
        "running"
    }
}

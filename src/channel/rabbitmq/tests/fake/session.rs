//! Connections and AMQP channels: the handshake, the dispatch of frames, and how both are closed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::{AMQPClass, BasicProperties, basic, channel, confirm, connection};
use amq_protocol::types::{AMQPValue, FieldTable};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::broker::{Broker, Channel, Phase, Refusal, Session};
use super::wire::{write_content, write_frame};

const FORCED: &str = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";

impl Broker {
    /// A client has connected.
    pub(super) fn connect(&mut self, ready: Arc<Notify>, end: CancellationToken) -> u64 {
        let serial = self.serial();
        self.connections_made += 1;
        let session = Session {
            name: String::new(),
            phase: Phase::Handshake,
            channels: BTreeMap::new(),
            output: Vec::new(),
            ready,
            end,
            heartbeat: Duration::ZERO,
            frame_max: 131_072,
            channel_max: 0,
            blocked: false,
            is_welcome: false,
        };
        self.sessions.insert(serial, session);
        serial
    }

    /// A client has gone: what it held goes back.
    pub(super) fn disconnect(&mut self, session: u64) {
        let Some(session) = self.sessions.remove(&session) else {
            return;
        };
        session.end.cancel();
        for channel in session.channels.into_values() {
            self.release(channel);
            self.channels.remove(&channel);
        }
    }

    pub(super) fn write(&mut self, session: u64, channel: u16, class: AMQPClass) {
        if let Some(session) = self.sessions.get_mut(&session) {
            write_frame(&mut session.output, &AMQPFrame::Method(channel, class));
            session.ready.notify_one();
        }
    }

    /// Sends a method on a channel.
    pub(super) fn send(&mut self, channel: u64, class: AMQPClass) {
        if let Some((session, id)) = self
            .channels
            .get(&channel)
            .map(|channel| (channel.session, channel.id))
        {
            self.write(session, id, class);
        }
    }

    pub(super) fn send_basic(&mut self, channel: u64, method: basic::AMQPMethod) {
        self.send(channel, AMQPClass::Basic(method));
    }

    pub(super) fn send_content(
        &mut self,
        channel: u64,
        method: basic::AMQPMethod,
        properties: BasicProperties,
        body: &[u8],
    ) {
        let Some(channel) = self.channels.get(&channel) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&channel.session) else {
            return;
        };
        let place = (channel.id, session.frame_max);
        write_content(
            &mut session.output,
            place,
            AMQPClass::Basic(method),
            properties,
            body,
        );
        session.ready.notify_one();
    }

    pub(super) fn on_frame(&mut self, session: u64, frame: AMQPFrame) {
        let Some(phase) = self.sessions.get(&session).map(|session| session.phase) else {
            return;
        };
        match frame {
            AMQPFrame::ProtocolHeader(_) => {
                self.write_connection(session, connection::AMQPMethod::Start(start()))
            }
            AMQPFrame::Heartbeat | AMQPFrame::InvalidHeartbeat(_) => {}
            AMQPFrame::Method(0, AMQPClass::Connection(method)) => {
                if let Err(refusal) = self.on_connection(session, method) {
                    self.close_connection(session, &refusal, (0, 0));
                }
            }
            _ if phase != Phase::Running => {}
            AMQPFrame::Method(id, AMQPClass::Channel(channel::AMQPMethod::Open(_))) => {
                self.open_channel(session, id)
            }
            frame => self.on_channel_frame(session, frame),
        }
    }

    fn on_channel_frame(&mut self, session: u64, frame: AMQPFrame) {
        let (id, method) = (frame.channel_id(), method_of(&frame));
        let serial = self
            .sessions
            .get(&session)
            .and_then(|session| session.channels.get(&id))
            .copied();
        let Some(channel) = serial.and_then(|serial| self.channels.get_mut(&serial)) else {
            return;
        };
        let Some(serial) = serial else { return };
        if let Some(stuck) = &mut channel.stuck {
            stuck.push_back(frame);
            return;
        }
        if channel.is_closing {
            self.on_closing(session, serial, &frame);
            return;
        }
        if self.is_hung(serial, &frame) {
            self.channels
                .entry(serial)
                .and_modify(|channel| channel.stuck = Some(VecDeque::from([frame])));
            return;
        }
        let done = match frame {
            AMQPFrame::Method(_, class) => self.on_method(serial, class),
            AMQPFrame::Header(_, header) => self.on_header(serial, header),
            AMQPFrame::Body(_, part) => self.on_body(serial, &part),
            _ => Ok(()),
        };
        match done {
            Err(refusal) if refusal.is_hard() => self.close_connection(session, &refusal, method),
            Err(refusal) => self.close_channel(serial, &refusal, method),
            Ok(()) => {}
        }
    }

    fn on_method(&mut self, channel: u64, class: AMQPClass) -> Result<(), Refusal> {
        match class {
            AMQPClass::Channel(channel::AMQPMethod::Close(_)) => {
                self.send(
                    channel,
                    AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})),
                );
                self.forget_channel(channel);
                Ok(())
            }
            AMQPClass::Confirm(confirm::AMQPMethod::Select(_)) => {
                self.channels
                    .entry(channel)
                    .and_modify(|channel| channel.published = Some(0));
                self.send(
                    channel,
                    AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})),
                );
                Ok(())
            }
            AMQPClass::Exchange(method) => self.on_exchange(channel, method),
            AMQPClass::Queue(method) => self.on_queue(channel, method),
            AMQPClass::Basic(method) => self.on_basic(channel, method),
            other => Err(Refusal::new(540, format!("NOT_IMPLEMENTED - {other:?}"))),
        }
    }

    fn write_connection(&mut self, session: u64, method: connection::AMQPMethod) {
        self.write(session, 0, AMQPClass::Connection(method));
    }

    fn on_connection(
        &mut self,
        session: u64,
        method: connection::AMQPMethod,
    ) -> Result<(), Refusal> {
        use connection::AMQPMethod as M;
        match method {
            M::StartOk(answer) => return self.log_in(session, &answer),
            M::TuneOk(tuned) => {
                self.sessions.entry(session).and_modify(|session| {
                    session.heartbeat = Duration::from_secs(tuned.heartbeat.into());
                    session.frame_max = usize::try_from(tuned.frame_max).unwrap_or(usize::MAX);
                    session.channel_max = tuned.channel_max;
                });
            }
            M::Open(_) => {
                self.sessions
                    .entry(session)
                    .and_modify(|session| session.phase = Phase::Running);
                self.write_connection(session, M::OpenOk(connection::OpenOk {}));
                self.tell_blocked();
            }
            M::Close(_) => {
                self.write_connection(session, M::CloseOk(connection::CloseOk {}));
                self.end(session);
            }
            M::CloseOk(_) => self.end(session),
            _ => {}
        }
        Ok(())
    }

    fn log_in(&mut self, session: u64, answer: &connection::StartOk) -> Result<(), Refusal> {
        let name =
            super::queue::text_of(&answer.client_properties, "connection_name").unwrap_or_default();
        self.sessions
            .entry(session)
            .and_modify(|session| session.name = name);
        let settings = &self.settings;
        let login = format!("\0{}\0{}", settings.username, settings.password);
        if answer.mechanism.as_str() != "PLAIN" || answer.response.as_bytes() != login.as_bytes() {
            let text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.";
            return Err(Refusal::new(403, text));
        }
        let tune = connection::Tune {
            channel_max: settings.channel_max,
            frame_max: settings.frame_max,
            heartbeat: settings.heartbeat,
        };
        self.write_connection(session, connection::AMQPMethod::Tune(tune));
        Ok(())
    }

    /// What is written is sent, then the connection ends.
    fn end(&mut self, session: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.phase = Phase::Ending;
            session.ready.notify_one();
        }
    }

    fn open_channel(&mut self, session: u64, id: u16) {
        let Some(open) = self.sessions.get(&session) else {
            return;
        };
        let max = open.channel_max;
        if max > 0 && open.channels.len() >= usize::from(max) {
            let text = format!(
                "number of channels opened ({max}) has reached the negotiated channel_max ({max})"
            );
            self.close_connection(
                session,
                &Refusal::new(530, format!("NOT_ALLOWED - {text}")),
                (20, 10),
            );
            return;
        }
        let serial = self.serial();
        self.channels_made += 1;
        self.channels.insert(serial, Channel::new(session, id));
        self.sessions.entry(session).and_modify(|session| {
            session.channels.insert(id, serial);
        });
        let opened = channel::OpenOk {};
        self.send(
            serial,
            AMQPClass::Channel(channel::AMQPMethod::OpenOk(opened)),
        );
    }

    /// Of a channel that the server has closed, only the end of that is of interest.
    fn on_closing(&mut self, session: u64, channel: u64, frame: &AMQPFrame) {
        if let AMQPFrame::Method(id, AMQPClass::Channel(method)) = frame {
            match method {
                channel::AMQPMethod::CloseOk(_) => self.forget_channel(channel),
                channel::AMQPMethod::Close(_) => {
                    let answer = channel::AMQPMethod::CloseOk(channel::CloseOk {});
                    self.write(session, *id, AMQPClass::Channel(answer));
                }
                _ => {}
            }
        }
    }

    fn forget_channel(&mut self, channel: u64) {
        self.release(channel);
        if let Some(gone) = self.channels.remove(&channel)
            && let Some(session) = self.sessions.get_mut(&gone.session)
        {
            session.channels.remove(&gone.id);
        }
    }

    /// Closes a channel with an error.
    pub(super) fn close_channel(
        &mut self,
        channel: u64,
        refusal: &Refusal,
        (class_id, method_id): (u16, u16),
    ) {
        let reply_text = refusal.text.as_str().into();
        let close = channel::Close {
            reply_code: refusal.code,
            reply_text,
            class_id,
            method_id,
        };
        self.send(
            channel,
            AMQPClass::Channel(channel::AMQPMethod::Close(close)),
        );
        self.channels
            .entry(channel)
            .and_modify(|channel| channel.is_closing = true);
        self.release(channel);
    }

    /// Closes a connection with an error.
    pub(super) fn close_connection(
        &mut self,
        session: u64,
        refusal: &Refusal,
        (class_id, method_id): (u16, u16),
    ) {
        let reply_text = refusal.text.as_str().into();
        let close = connection::Close {
            reply_code: refusal.code,
            reply_text,
            class_id,
            method_id,
        };
        self.write_connection(session, connection::AMQPMethod::Close(close));
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        open.phase = Phase::Closing;
        for channel in open.channels.values().copied().collect::<Vec<_>>() {
            self.channels
                .entry(channel)
                .and_modify(|channel| channel.is_closing = true);
            self.release(channel);
        }
    }

    /// Closes all connections as a node that stops does.
    pub(super) fn force_closed(&mut self) {
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.close_connection(session, &Refusal::new(320, FORCED), (0, 0));
        }
    }

    /// Tells connections whether they are blocked that do not know it.
    pub(super) fn tell_blocked(&mut self) {
        let reason = self.blocked.clone();
        for (serial, was) in self
            .sessions
            .iter()
            .map(|(serial, session)| (*serial, session.blocked))
            .collect::<Vec<_>>()
        {
            let method = match &reason {
                Some(reason) if !was => connection::AMQPMethod::Blocked(connection::Blocked {
                    reason: reason.as_str().into(),
                }),
                None if was => connection::AMQPMethod::Unblocked(connection::Unblocked {}),
                _ => continue,
            };
            if self
                .sessions
                .get(&serial)
                .is_some_and(|session| session.phase == Phase::Running)
            {
                self.sessions
                    .entry(serial)
                    .and_modify(|session| session.blocked = !was);
                self.write_connection(serial, method);
            }
        }
    }
}

fn method_of(frame: &AMQPFrame) -> (u16, u16) {
    match frame {
        AMQPFrame::Method(_, class) => (class.get_amqp_class_id(), class.get_amqp_method_id()),
        _ => (60, 40),
    }
}

fn start() -> connection::Start {
    let mut capabilities = FieldTable::default();
    for name in [
        "publisher_confirms",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
    ] {
        capabilities.insert(name.into(), AMQPValue::Boolean(true));
    }
    let mut server_properties = FieldTable::default();
    server_properties.insert("product".into(), AMQPValue::LongString("RabbitMQ".into()));
    server_properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    let (mechanisms, locales) = ("PLAIN".into(), "en_US".into());
    connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties,
        mechanisms,
        locales,
    }
}

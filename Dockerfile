# Tidegate as a container: built on Debian, run on a small Debian of the same release, as nobody in particular.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked && install -D target/release/tidegate /out/tidegate

FROM debian:bookworm-slim
COPY --from=build /out/tidegate /usr/local/bin/tidegate
USER 65532:65532
# Mount a directory with a gateway.yaml here, and what it includes. A mount of the file alone would hide its edits.
WORKDIR /etc/tidegate
# 9901 is the admin port. It binds loopback by default, so it is reached from inside this container only, until the file
# says `admin: {bind: 0.0.0.0:9901}`; without a token it then shows health and metrics, and no more.
EXPOSE 8080 9901
# Longer than `drain.deadline`, so that a stop loses no request: docker stop -t 40
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidegate"]
CMD ["run", "--config", "/etc/tidegate/gateway.yaml"]

// IPTV client libraries of npm as programs: log in, list, read the guide, print what they understood.
//
//     node tests/clients-js/clients.js CLIENT URL USERNAME PASSWORD
//
// One JSON object goes to stdout. A client that throws ends with status 1 and its message on stderr.

import { createRequire } from 'node:module';
import { parseM3U } from '@iptv/playlist';
import { parseXmltv } from '@iptv/xmltv';
import { Xtream } from '@iptv/xtream-api';
import { standardizedSerializer } from '@iptv/xtream-api/standardized';

const require = createRequire(import.meta.url);
const epgParser = require('epg-parser');
const playlistParser = require('iptv-playlist-parser');

// Everything the library of Ekto asks for; `serializer` undefined: the answers as they came.
async function xtream(url, username, password, serializer) {
  const client = new Xtream({ url, username, password, serializer });
  const channels = await client.getChannels();
  const channelId = channels[0].stream_id ?? channels[0].id;
  const films = await client.getMovies();
  const series = await client.getShows();
  const failure = (promise) => promise.then(() => null, (error) => error.message);
  return {
    profile: await client.getProfile(),
    server: await client.getServerInfo(),
    categories: await client.getChannelCategories(),
    channels,
    films,
    series,
    film: films.length ? await client.getMovie({ movieId: films[0].stream_id ?? films[0].id }) : null,
    show: series.length ? await client.getShow({ showId: series[0].series_id ?? series[0].id }) : null,
    noFilm: await failure(client.getMovie({ movieId: 1 })),
    noSeries: await failure(client.getShow({ showId: 999 })),
    shortGuide: await client.getShortEPG({ channelId, limit: 2 }),
    fullGuide: await client.getFullEPG({ channelId }),
  };
}

async function text(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${answer.status} for ${new URL(url).pathname}`);
  return answer.text();
}

const list = (url, user, password) =>
  text(`${url}/get.php?username=${user}&password=${password}&type=m3u_plus&output=ts`);
const guide = (url, user, password) =>
  text(`${url}/xmltv.php?username=${user}&password=${password}`);

const clients = {
  xtream: (url, user, password) => xtream(url, user, password, undefined),
  standardized: (url, user, password) => xtream(url, user, password, standardizedSerializer),

  playlist: async (...login) => {
    const found = parseM3U(await list(...login));
    return {
      guides: [found.headers?.urlTvg, found.headers?.xTvgUrl],
      channels: found.channels.map((channel) => ({
        id: channel.tvgId,
        name: channel.name,
        group: channel.groupTitle,
        number: channel.tvgChno,
        url: channel.url,
      })),
    };
  },

  'playlist-parser': async (...login) => {
    const found = playlistParser.parse(await list(...login));
    return {
      guides: [found.header.attrs['url-tvg'], found.header.attrs['x-tvg-url']],
      channels: found.items.map((item) => ({
        id: item.tvg.id,
        name: item.name,
        group: item.group.title,
        url: item.url,
      })),
    };
  },

  xmltv: async (...login) => {
    const found = parseXmltv(await guide(...login));
    return {
      channels: (found.channels ?? []).map((channel) => ({
        id: channel.id,
        name: channel.displayName?.[0]?._value,
      })),
      programmes: (found.programmes ?? []).map((programme) => ({
        channel: programme.channel,
        start: programme.start,
        stop: programme.stop,
        title: programme.title?.[0]?._value,
      })),
    };
  },

  'epg-parser': async (...login) => {
    const found = epgParser.parse(await guide(...login));
    return {
      channels: found.channels.map((channel) => ({
        id: channel.id,
        name: channel.displayName?.[0]?.value,
      })),
      programmes: found.programs.map((programme) => ({
        channel: programme.channel,
        start: programme.start,
        stop: programme.stop,
        title: programme.title?.[0]?.value,
      })),
    };
  },
};

const [name, ...login] = process.argv.slice(2);
try {
  console.log(JSON.stringify(await clients[name](...login)));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

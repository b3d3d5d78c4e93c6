import { expect, test } from 'vitest';
import { faultOfEndpoint, PUSH_SERVICE_HOSTS } from '../../workers/push/webpush.ts';

test.each([
  ['https://fcm.googleapis.com/fcm/send/a', null],
  ['https://updates.push.services.mozilla.com/wpush/v2/a', null],
  ['https://x.push.services.mozilla.com/a', null],
  ['https://wns2-par02p.notify.windows.com/w/?token=a', null],
  ['https://web.push.apple.com/a', null],
  ['https://api.push.apple.com/a', null],
  ['https://FCM.googleapis.com:443/a', null],
  ['http://fcm.googleapis.com/a', /https/],
  ['ftp://fcm.googleapis.com/a', /https/],
  ['not a url', /https/],
  ['https://fcm.googleapis.com:8443/a', /not at a push service/],
  ['https://fcm.googleapis.com.evil.example/a', /not at a push service/],
  ['https://evilnotify.windows.com/a', /not at a push service/],
  ['https://notify.windows.com.evil.example/a', /not at a push service/],
  ['https://fcm.googleapis.com@evil.example/a', /login/],
  ['https://evil.example#fcm.googleapis.com', /not at a push service/],
  ['https://169.254.169.254/latest/meta-data', /not at a push service/],
  ['https://[::1]/a', /not at a push service/],
  ['https://2130706433/a', /not at a push service/],
  ['https://localhost/a', /not at a push service/],
])('an endpoint at %s', (endpoint, fault) => {
  const found = faultOfEndpoint(endpoint, PUSH_SERVICE_HOSTS);
  if (fault === null) expect(found).toBeNull();
  else expect(found).toMatch(fault);
});

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import javax.security.auth.callback.NameCallback;
import javax.security.auth.callback.PasswordCallback;

import org.apache.kafka.common.security.scram.ScramCredential;
import org.apache.kafka.common.security.scram.ScramCredentialCallback;
import org.apache.kafka.common.security.scram.internals.ScramCredentialUtils;
import org.apache.kafka.common.security.scram.internals.ScramFormatter;
import org.apache.kafka.common.security.scram.internals.ScramMechanism;
import org.apache.kafka.common.security.scram.internals.ScramSaslClient;
import org.apache.kafka.common.security.scram.internals.ScramSaslServer;

/**
 * Lets Kafka's own SCRAM classes judge ours. One question a line on standard input, tab-separated, bytes in
 * base 64; one answer a line on standard output: "ok TEXT" or "refused REASON". Passwords come by standard
 * input only.
 */
public class ScramJudge {
    private interface Step {
        byte[] take(byte[] message) throws Exception;
    }

    private static Step exchange;

    public static void main(String[] none) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String answer;
            try {
                answer = "ok " + answer(line.split("\t", -1));
            } catch (Exception e) {
                answer = "refused " + String.valueOf(e.getMessage()).replace('\n', ' ');
            }
            System.out.println(answer);
            System.out.flush();
        }
    }

    private static String answer(String[] question) throws Exception {
        switch (question[0]) {
            case "derive":
                return derive(mechanism(question[1]), text(question[2]), bytes(question[3]),
                        Integer.parseInt(question[4]));
            case "salted":
                return base64(new ScramFormatter(mechanism(question[1])).saltedPassword(text(question[2]),
                        bytes(question[3]), Integer.parseInt(question[4])));
            case "rewrite":
                return ScramCredentialUtils.credentialToString(ScramCredentialUtils.credentialFromString(question[1]));
            case "server":
                ScramCredential credential = ScramCredentialUtils.credentialFromString(question[3]);
                exchange = new ScramSaslServer(mechanism(question[1]), null, callbacks(question[2], null, credential))
                        ::evaluateResponse;
                return "";
            case "client":
                exchange = new ScramSaslClient(mechanism(question[1]),
                        callbacks(text(question[2]), text(question[3]), null))::evaluateChallenge;
                return "";
            case "step":
                byte[] reply = exchange.take(bytes(question[1]));
                return reply == null ? "" : base64(reply);
            default:
                throw new IllegalArgumentException("unknown question " + question[0]);
        }
    }

    private static String derive(ScramMechanism mechanism, String password, byte[] salt, int iterations)
            throws Exception {
        ScramFormatter formatter = new ScramFormatter(mechanism);
        byte[] salted = formatter.saltedPassword(password, salt, iterations);
        byte[] storedKey = formatter.storedKey(formatter.clientKey(salted));
        return ScramCredentialUtils.credentialToString(
                new ScramCredential(salt, storedKey, formatter.serverKey(salted), iterations));
    }

    /** Answers for one user: the server's question for the credential, or the client's for name and password. */
    private static CallbackHandler callbacks(String username, String password, ScramCredential credential) {
        return callbacks -> {
            boolean known = true;
            for (Callback callback : callbacks) {
                if (callback instanceof NameCallback) {
                    NameCallback name = (NameCallback) callback;
                    known = name.getDefaultName() == null || name.getDefaultName().equals(username);
                    name.setName(username);
                } else if (callback instanceof PasswordCallback) {
                    ((PasswordCallback) callback).setPassword(password.toCharArray());
                } else if (callback instanceof ScramCredentialCallback && known) {
                    ((ScramCredentialCallback) callback).scramCredential(credential);
                }
            }
        };
    }

    private static ScramMechanism mechanism(String name) {
        return ScramMechanism.forMechanismName(name);
    }

    private static byte[] bytes(String base64) {
        return Base64.getDecoder().decode(base64);
    }

    private static String text(String base64) {
        return new String(bytes(base64), StandardCharsets.UTF_8);
    }

    private static String base64(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }
}
